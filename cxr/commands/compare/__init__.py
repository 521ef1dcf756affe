"""All of `cxr compare`: what is read of two runs, how they are compared, and what is written of it;
`command.py` is the entry point.
"""
