"""The stored values of pydicom's compressed test files, here and by a second decoder, GDCM.

    uv run --with python-gdcm python -m benchmarks.dicom_decoders

python-gdcm is no part of the project's environment: an advisory for each of its last versions says that a
damaged file can make it write outside of its memory. It reads intact files here, and nothing else does so.
"""

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom.data
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder

from cxr.core.errors import UserError
from cxr.data.dicom_pixels import check_syntax, decode_pixels

FOLDER = Path(pydicom.data.__file__).parent / "test_files"


def main() -> None:
    print("| file | transfer syntax | bits | sha256 | largest difference |\n|---|---|---|---|---|")
    for path in sorted(FOLDER.glob("*.dcm")):
        dataset = intact(path)
        if dataset is not None:
            print(f"| {path.name} | {' | '.join(compared(dataset))} |")


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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
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


if __name__ == "__main__":
    main()
