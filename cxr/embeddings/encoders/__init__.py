"""Images to embeddings by a published network or by principal components; `embed.py` is the entry point.

Of the room embeddings, the stage clip-embed depends on this folder alone; the networks are in
`cxr/models/encoders/`. Imports models, core.
"""
