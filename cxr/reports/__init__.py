"""Texts about single films: who writes them, what they are given, and what their words are worth."""
