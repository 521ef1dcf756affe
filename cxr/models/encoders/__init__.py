"""Published networks that compute embeddings, with the preprocessing they expect; `load.py` is the entry
point.

Of the stage clip-embed, and of a classifier whose backbone is `encoder`.
"""
