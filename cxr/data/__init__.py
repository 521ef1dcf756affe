"""From files to the packed data set: one radiograph (PNG, JPEG, DICOM) to a grey square, the sources, the
synthetic radiographs, the splits.

Read by the stages download and split, and for single files by `cxr predict`, `cxr search` and the service.
Imports core.
"""
