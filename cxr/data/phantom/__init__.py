"""Synthetic radiographs (digital phantoms): anatomy, findings, the detector, and cohorts of them;
`cohort.py` is the entry point. Imports nothing of the other sources.
"""
