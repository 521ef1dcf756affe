"""What every stage stands on: the packed data set, files written whole, errors of one line, the device,
published files fetched and checked.

Imports no other room. Every stage depends on it, so what does not have to be here is not.
"""
