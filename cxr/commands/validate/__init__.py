"""All of `cxr validate`: which radiographs with which labels, what is measured on them, how that compares
with test, and what is written of it; `command.py` is the entry point.
"""
