"""All of `cxr new`: what a folder or a table is recognised as, which parameters that gives, and what is found
in its files; `command.py` is the entry point.
"""
