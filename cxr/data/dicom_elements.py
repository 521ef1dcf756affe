"""The elements of a DICOM file that are read, and what reading damaged ones raises."""

import struct
import zlib

from PIL import Image
from pydicom.datadict import tag_for_keyword
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag

HEADER = (
    "Modality",
    "PresentationIntentType",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "PixelAspectRatio",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PresentationLUTShape",
)
TAGS: list[BaseTag | int] = [tag_for_keyword(keyword) or 0 for keyword in HEADER]
TABLES = ("ModalityLUTSequence", "VOILUTSequence")
PIXEL_DATA = 0x7FE00010
ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # tag of an item, little and big endian
# What parsing and decoding raise for damaged content; pydicom has no common base class.
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
