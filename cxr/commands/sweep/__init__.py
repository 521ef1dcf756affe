"""All of `cxr sweep`: which experiments there are, how each runs, and what is kept of it; `command.py` is the
entry point.
"""
