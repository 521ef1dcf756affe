"""The JPEG processes of DICOM that Pillow does not decode: JPEG Lossless, JPEG-LS, and JPEG of 12 bits.

libjpeg-turbo and CharLS decode them, in the package imagecodecs (https://pypi.org/project/imagecodecs, BSD),
which the extra `dicom` installs. They believe the frame header of the compressed image (ITU-T T.81 B.2.2;
T.87 C.2.2) and give no warning of data that ends early, so that both are checked here, before they allocate.
"""

import struct
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from pydicom import Dataset
from pydicom.uid import (
    UID,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from cxr.core.errors import UserError

# The marker of the frame header that a transfer syntax allows: sequential Huffman, lossless Huffman, JPEG-LS.
PROCESSES = {
    JPEGExtended12Bit: 0xC1,
    JPEGLossless: 0xC3,
    JPEGLosslessSV1: 0xC3,
    JPEGLSLossless: 0xF7,
    JPEGLSNearLossless: 0xF7,
}
LOSSY = (JPEGExtended12Bit, JPEGLSNearLossless)
JPEG_LS, LOSSLESS = 0xF7, 0xC3  # the markers
FRAMES = {*range(0xC0, 0xD0), JPEG_LS} - {0xC4, 0xC8, 0xCC}  # markers of all frame headers
WITHOUT_LENGTH = (0x00, 0x01, *range(0xD0, 0xDA))
START_OF_SCAN, END = 0xDA, b"\xff\xd9"
MAX_SEGMENTS = 1000  # before the frame header; some ten are usual


class Frame(NamedTuple):
    """The frame header of a JPEG: its marker, bits of a sample, and its size."""

    marker: int
    bits: int
    height: int
    width: int
    samples: int


def is_installed() -> bool:
    return find_spec("imagecodecs") is not None


def frame_header(jpeg: bytes) -> Frame:
    """Raises `ValueError`, `LookupError` or `struct.error` if there is none before the first scan."""
    if jpeg[:2] != b"\xff\xd8":
        raise ValueError("start")
    at = 2
    for _ in range(MAX_SEGMENTS):
        if jpeg[at] != 0xFF:
            raise ValueError("marker")
        marker = jpeg[at + 1]
        if marker in FRAMES:
            return Frame(marker, *struct.unpack_from(">BHHB", jpeg, at + 4))
        if marker in WITHOUT_LENGTH or marker == START_OF_SCAN:
            raise ValueError("order of markers")
        # A marker may be preceded by any number of fill bytes.
        at += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", jpeg, at + 2)[0]
    raise ValueError("segments")


def decode_jpeg(jpeg: bytes, dataset: Dataset, syntax: UID) -> np.ndarray:
    """Stored values, (H, W) or (H, W, 3) of 8 or 16 bits, unsigned or signed as `dataset` says, whose
    BitsStored are the lowest bits. Colours are not converted.

    dataset: with the elements of the image, checked. syntax: one of `PROCESSES`. Raises `UserError` if
    imagecodecs is not installed, `ValueError`, `LookupError`, `RuntimeError` (the decoders') or
    `struct.error` if `jpeg` is damaged or not what `dataset` states.
    """
    frame = frame_header(jpeg)
    _check(jpeg, frame, dataset, syntax)
    if not is_installed():
        raise UserError("it needs a decoder: pip install 'cxr[dicom]'")
    import imagecodecs

    if frame.marker == JPEG_LS:
        values = imagecodecs.jpegls_decode(jpeg)
    else:
        # Equal colour spaces are no conversion: which is stored is for the photometric interpretation to say.
        space = "RGB" if frame.samples == 3 else None
        values = imagecodecs.jpeg8_decode(jpeg, colorspace=space, outcolorspace=space)
    if values.shape[:2] != (frame.height, frame.width):
        raise ValueError("size")
    bits = min(frame.bits, dataset.BitsStored)
    if syntax in LOSSY and not dataset.PixelRepresentation:
        return np.minimum(values, 2**bits - 1, out=values)  # which the error of a bright pixel may exceed
    return _as_stored(values, bits, bool(dataset.PixelRepresentation))


def _check(jpeg: bytes, frame: Frame, dataset: Dataset, syntax: UID) -> None:
    """Raises `ValueError` if the compressed image is not what the header of the file states."""
    if frame.marker != PROCESSES[syntax]:
        raise ValueError("process")
    if (frame.height, frame.width, frame.samples) != (
        dataset.Rows,
        dataset.Columns,
        dataset.SamplesPerPixel,
    ):
        raise ValueError("size")
    if not 2 <= frame.bits <= dataset.BitsAllocated:
        raise ValueError("bits")
    # Each sample is in one scan; libjpeg would pass over the image once more for each further one.
    if jpeg.count(b"\xff\xda") > frame.samples:
        raise ValueError("scans")
    # libjpeg fills up what is missing with grey. Odd lengths are padded, with 0 or as between markers.
    if jpeg[max(0, jpeg.rfind(END)) :].rstrip(b"\0\xff") != END:
        raise ValueError("end")
    # No code is shorter than a bit, which also bounds what a small file can unpack to.
    if frame.marker == LOSSLESS and 8 * len(jpeg) < frame.height * frame.width * frame.samples:
        raise ValueError("data")


def _as_stored(values: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """`values`, changed in place: the lowest `bits`, with the sign that they hold. JPEG knows no signs."""
    unused = 8 * values.itemsize - bits
    if signed:
        values = values.view(f"i{values.itemsize}")
    if unused:
        values <<= unused
        values >>= unused
    return values
