"""All drawing. Knows arrays, names and colours, and no other room; the only room that imports matplotlib.

Imports core.
"""
