"""Reports on single radiographs: measurements of a case, report writers, scores of texts, the page.

Imports embeddings, evaluation, inference, models, core.
"""
