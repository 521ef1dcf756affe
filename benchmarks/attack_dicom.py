"""DICOM files of the extra `dicom`, and deflated ones, that cost a decoder far more than they weigh."""

import struct
import zlib

import imagecodecs
import numpy as np
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLSLossless,
)

from benchmarks.dicom_files import in_syntax, jpeg_of_precision
from tests.builders import dicom, dicom_bytes


def dicom_attacks(side: int, deep: int) -> dict[str, bytes]:
    """A file of each kind. side: of the largest image that is allowed; deep: of 16-bit colour."""
    grey, colour = np.zeros((side, side), np.uint16), np.zeros((deep, deep, 3), np.uint16)
    lossless, small = jpeg_of_precision(grey, 16, lossless=True), np.zeros((64, 64), np.uint16)
    extended, start = jpeg_of_precision(grey, 12), lossless.index(b"\xff\xda")
    scan = extended.index(b"\xff\xda")
    return {
        "DICOM, deflated RGB 16 bit": in_syntax(colour, DeflatedExplicitVRLittleEndian),
        "DICOM, deflated without end": _deflated_bomb(8 * side**2),
        "DICOM, JPEG Lossless 16 bit": _frame(lossless, grey, JPEGLossless),
        "DICOM, JPEG Lossless RGB 16 bit": in_syntax(colour, JPEGLossless),
        "DICOM, JPEG Lossless without data": _frame(lossless[: start + 99] + b"\xff\xd9", grey, JPEGLossless),
        "DICOM, JPEG Lossless larger than stated": _frame(lossless, small, JPEGLossless),
        "DICOM, JPEG 12 bit repeated": _frame(
            extended[:-2] + extended[scan:-2] * 500 + extended[-2:], grey, JPEGExtended12Bit
        ),
        "DICOM, JPEG-LS 16 bit": _frame(imagecodecs.jpegls_encode(grey), grey, JPEGLSLossless),
        "DICOM, JPEG-LS RGB 16 bit": in_syntax(colour, JPEGLSLossless),
        "DICOM, JPEG-LS larger than stated": _frame(imagecodecs.jpegls_encode(grey), small, JPEGLSLossless),
    }


def _frame(jpeg: bytes, pixels: np.ndarray, syntax: UID) -> bytes:
    dataset = dicom(pixels)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([jpeg])
    dataset["PixelData"].is_undefined_length = True
    return dicom_bytes(dataset)


def _deflated_bomb(length: int) -> bytes:
    """Whose first element has `length` bytes, all 0."""
    content = in_syntax(np.zeros((64, 64), np.uint8), DeflatedExplicitVRLittleEndian)
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    element = packer.compress(struct.pack("<HH2sHL", 8, 0x10, b"UT", 0, length))
    element += packer.compress(bytes(length)) + packer.flush()
    return content[: 144 + struct.unpack_from("<L", content, 140)[0]] + element
