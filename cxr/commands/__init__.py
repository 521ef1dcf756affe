"""The commands of `cxr`, one file each; `compare/` holds all of `cxr compare`.

A door: may import every room but training; no stage imports them, so an edit here reruns nothing.
"""
