"""How a member of the ensemble is trained: targets and loss, augmentation, optimiser, the loop, which
weights are kept.

Everything here can change the weights, and nothing that cannot belongs here. Imports models, core.
"""
