"""Reports on single radiographs: measurements of a case, report writers, scores of texts, the page;
and the ledger of test, which the model card and `cxr compare` quote.

Imports embeddings, evaluation, inference, models, core.
"""
