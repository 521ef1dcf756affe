"""Training of one member of the ensemble: targets and loss, augmentation, optimiser, the loop, which weights
are kept.

Only what can change the weights belongs here. Imports models, core; only the stage train imports it.
"""
