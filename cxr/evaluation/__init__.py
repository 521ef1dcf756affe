"""How good the predictions are: metrics with intervals, calibration error, misclassifications, subgroups,
corruptions, shift between splits, sanity checks of class activation maps.

Computes numbers and draws nothing. Imports inference, models, core.
"""
