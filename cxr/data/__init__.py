"""From files to the packed data set: the reader of one radiograph (PNG, JPEG, DICOM ...), the sources, the
synthetic radiographs, the splits.

Used by the stages download and split, and for single files by `cxr predict`, `cxr search` and the service.
Imports core; no other room imports it.
"""
