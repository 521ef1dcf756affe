"""A door: what a person types, one file a command; `compare/` holds all of `cxr compare`.

May import every room; no stage imports it, so an edit here reruns nothing.
"""
