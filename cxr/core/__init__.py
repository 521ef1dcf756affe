"""The basis of every stage: the packed data set, files written whole, errors of one line, the device, where
work runs, published files fetched and checked, logs.

Imports no other room. Every stage depends on it, so it holds only what several rooms need.
"""
