"""Synthetic radiographs (digital phantoms): anatomy, findings, detector and cohorts; `cohort.py` is the entry
point. Imports nothing of the other sources.
"""
