"""The commands of `cxr`, one file each; `compare/` holds all of `cxr compare`.

May import every room; no stage imports them, so an edit here reruns nothing.
"""
