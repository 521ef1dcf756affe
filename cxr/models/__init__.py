"""Networks: backbones and their weights, the head, the way from a stored image to a network's input, and
the classifier made of several members.

Imports core.
"""
