"""Images as vectors: encoders, k-means sub-classes, the gallery of similar images, retrieval metrics.

Imports evaluation (intervals), models, core.
"""
