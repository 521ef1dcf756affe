"""All drawing: takes arrays, names and colours, and writes PNG files. The only room that imports matplotlib.

Imports core; no other room imports it.
"""
