"""Images to embeddings by a published network or by principal components; `embed.py` is the entry point.

The stage clip-embed depends on this folder alone of its room. Imports models, core.
"""
