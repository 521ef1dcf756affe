"""Films to embeddings, in which the stage cluster looks for sub-classes; `embed.py` is the entry point."""
