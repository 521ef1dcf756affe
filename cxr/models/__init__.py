"""Networks: backbones and their weights, the head, the preprocessing of stored images, and the classifier
made of several members.

Imports core.
"""
