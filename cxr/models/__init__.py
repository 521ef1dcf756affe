"""Networks: backbones and their weights, published encoders, the head, the preprocessing of stored images,
and the classifier made of several members.

Imports core.
"""
