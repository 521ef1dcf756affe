"""Words about single radiographs: what is measured on a case, who writes, how texts are scored, the page.

Imports embeddings, evaluation, inference, models, core.
"""
