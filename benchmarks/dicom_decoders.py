"""Stored values as read here and by GDCM: of the compressed files of pydicom, and of what GDCM encodes.

    uv run --with python-gdcm python -m benchmarks.dicom_decoders

python-gdcm is no part of the project's environment (docs/dicom.md says why). It reads and writes intact files
here, and nothing else does so.
"""

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.dicom_files import in_syntax, waves
from cxr.core.errors import UserError
from cxr.data.dicom_pixels import check_syntax, decode_pixels

FOLDER = Path(pydicom.data.__file__).parent / "test_files"
KINDS = ((np.uint8, 8), (np.uint16, 10), (np.uint16, 12), (np.uint16, 16), (np.int16, 12), (np.int16, 16))
# What GDCM calls the transfer syntaxes that it encodes without loss.
LOSSLESS = ("DeflatedExplicitVRLittleEndian", "ExplicitVRBigEndian", "RLELossless", "JPEGLosslessProcess14")
LOSSLESS += ("JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless")


def main() -> None:
    logging.disable()
    print("| file | transfer syntax | bits | sha256 | largest difference |\n|---|---|---|---|---|")
    for path in sorted(FOLDER.glob("*.dcm")):
        dataset = intact(path)
        if dataset is not None:
            print(f"| {path.name} | {' | '.join(compared(dataset))} |")
    print("\n| encoded by GDCM | largest difference of 8 to 16 bits, signed and unsigned |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in LOSSLESS:
            print(f"| {name} | {', '.join(str(lost(name, *kind, Path(folder))) for kind in KINDS)} |")


def intact(path: Path) -> Dataset | None:
    """A compressed image of one frame and 8 or 16 bits, or None if `path` holds anything else."""
    try:
        dataset = dcmread(path)
        compressed = dataset.file_meta.TransferSyntaxUID.is_encapsulated
    except (InvalidDicomError, AttributeError):
        return None
    single = str(dataset.get("NumberOfFrames") or 1) == "1" and dataset.get("BitsAllocated") in (8, 16)
    return dataset if compressed and single else None


def compared(dataset: Dataset) -> Iterator[str]:
    syntax = dataset.file_meta.TransferSyntaxUID
    yield f"{syntax.name} ({syntax})"
    yield f"{dataset.BitsStored} of {dataset.BitsAllocated}"
    second: np.ndarray | Exception
    try:
        second, _ = get_decoder(syntax).as_array(dataset, decoding_plugin="gdcm")
    except (RuntimeError, ValueError) as error:
        second = error
    try:
        check_syntax(syntax)
        values = decode_pixels(dataset, syntax)
    except UserError as error:
        yield from (str(error), "-")
        return
    yield hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:12]
    if isinstance(second, Exception):
        yield f"GDCM: {str(second).splitlines()[0][:60]}"
    else:
        yield str(np.abs(values.astype(int) - second).max())


def lost(name: str, dtype: type, bits: int, folder: Path) -> int:
    """The largest difference of a stored value that is encoded by GDCM and decoded here."""
    import gdcm

    pixels, plain, encoded = waves(dtype, bits), folder / "plain.dcm", folder / "encoded.dcm"
    plain.write_bytes(in_syntax(pixels, ExplicitVRLittleEndian, bits))
    reader: Any = gdcm.ImageReader()
    reader.SetFileName(str(plain))
    change: Any = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
    writer: Any = gdcm.ImageWriter()
    writer.SetFileName(str(encoded))
    if not reader.Read():
        raise RuntimeError("GDCM cannot read it")
    change.SetInput(reader.GetImage())
    changed = change.Change()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    if not (changed and writer.Write()):
        raise RuntimeError(f"GDCM cannot encode {name}")
    dataset = dcmread(encoded)
    values = decode_pixels(dataset, dataset.file_meta.TransferSyntaxUID)
    return int(np.abs(values.astype(int) - pixels).max())


if __name__ == "__main__":
    main()
