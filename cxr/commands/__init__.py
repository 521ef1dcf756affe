"""The commands of `cxr`, one file each."""
