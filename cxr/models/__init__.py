"""Backbones and the classifier made of them."""
