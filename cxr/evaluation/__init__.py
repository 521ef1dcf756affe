"""What those predictions are worth: metrics with intervals, calibration error, subgroups, corruptions,
shift between splits, sanity of class activation maps.

Computes numbers and draws nothing. Imports inference, models, core.
"""
