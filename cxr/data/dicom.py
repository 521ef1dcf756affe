"""Radiographs in DICOM files: from stored values to the grey levels that the standard specifies for display.

Part 10 of the standard describes the file, part 3 its content; pydicom (https://pydicom.github.io) parses and
decodes it. Only the elements listed here are read: no name, date or identifier of a patient.
"""

import io
import logging
import math
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import get_frame
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
)

from cxr.core.errors import PixelCountError, UserError
from cxr.data.grayscale import to_grey_levels

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
)
# Projection radiography, digitised film, and what converted images state or leave empty.
MODALITIES = ("CR", "DX", "DR", "RG", "RF", "HC", "SC", "OT", "")
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PILLOWS = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEG2000, JPEG2000Lossless)  # what Pillow decodes
CONVERT = "convert it to Explicit VR Little Endian, for example with GDCM's `gdcmconv --raw`"
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

# Both would quote values of the file.
warnings.filterwarnings("ignore", module="pydicom")  # for good: a filter of one call is not safe in threads
logging.getLogger("pydicom").propagate = False


@dataclass(frozen=True)
class Radiograph:
    """image: mode F (grey levels from 0, black, to 255) or RGB, square pixels. bits: of a stored value."""

    image: Image.Image
    bits: int


def read_dicom(file: BinaryIO, name: str, max_pixels: int) -> Radiograph:
    """Read a radiograph of one frame, grey or colour, 8 to 16 bit.

    Grey levels are as `cxr.data.grayscale` defines them. A radiograph whose pixels are not square (PS3.3
    10.7.1.3, C.7.6.3.1.7) is shrunk along their shorter side.

    name: of the file in messages. Raises `PixelCountError` for more than `max_pixels` pixels, before they are
    decoded; `UserError` if the file is damaged, no radiograph (another modality, a report, raw detector
    data), has several frames, or is compressed by a method that the installed decoders do not support.
    """
    try:
        # In memory, so that a length stated by a damaged file is bounded by the size of the file.
        content = io.BytesIO(file.read())
        syntax = _transfer_syntax(content)
        content.seek(0)
        _check(dcmread(content, stop_before_pixels=True, specific_tags=list(HEADER)), max_pixels)
        content.seek(0)
        dataset = dcmread(content, specific_tags=[*HEADER, "PixelData"])
        values = _decode(dataset, syntax)
        image = _colour(dataset, values) if values.ndim == 3 else to_grey_levels(dataset, values)
        return Radiograph(_square_pixels(image, dataset), int(dataset.BitsStored))
    except UserError as error:
        raise type(error)(f"{name}: {error}") from None
    except DAMAGE as error:
        # Without its text, which may quote values of the file.
        raise UserError(f"{name}: damaged or incomplete DICOM file ({type(error).__name__})") from None


def _transfer_syntax(content: BinaryIO) -> UID:
    """The encoding of the rest of the file, from the meta information after the preamble (PS3.10 7.1)."""
    content.seek(132)
    meta = read_dataset(content, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    syntax = UID(meta.TransferSyntaxUID)
    if not syntax.is_valid:
        raise ValueError("transfer syntax")
    # A deflated file would be unpacked as a whole before anything in it can be checked.
    if syntax == DeflatedExplicitVRLittleEndian or not _has_decoder(syntax):
        raise UserError(f"its transfer syntax {syntax.name} ({syntax}) cannot be read here; {CONVERT}")
    return syntax


def _has_decoder(syntax: UID) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _check(header: Dataset, max_pixels: int) -> None:
    modality = str(header.get("Modality") or "")
    if modality not in MODALITIES:
        raise UserError(f"modality {_code(modality)}, not a radiograph (CR or DX)")
    if "Rows" not in header or "Columns" not in header:
        raise UserError("a DICOM file without an image")
    rows, columns = int(header.Rows), int(header.Columns)
    if rows * columns > max_pixels:
        raise PixelCountError(f"{columns} x {rows} pixels; at most {max_pixels:,}")
    frames = int(header.get("NumberOfFrames") or 1)
    if frames != 1:
        raise UserError(f"{frames} frames; a radiograph has one: export a single frame")
    if header.get("PresentationIntentType") == "FOR PROCESSING":
        raise UserError("raw detector values (FOR PROCESSING); export the radiograph FOR PRESENTATION")
    kind, samples = str(header.PhotometricInterpretation), int(header.SamplesPerPixel)
    if not (kind in GREY and samples == 1) and not (kind in COLOUR and samples == 3):
        raise UserError(
            f"photometric interpretation {_code(kind)} with {samples} samples; neither grey nor colour"
        )
    if header.BitsAllocated not in (8, 16) or not 1 <= header.BitsStored <= header.BitsAllocated:
        raise UserError(f"{header.BitsStored} bits in {header.BitsAllocated}; a radiograph has 8 to 16")


def _code(value: str) -> str:
    """A code string of the standard. In a damaged file it may run on into the next elements, even a name."""
    return value if re.fullmatch("[A-Z0-9_ ]{1,16}", value) else "unknown"


def _decode(dataset: Dataset, syntax: UID) -> np.ndarray:
    """Stored values, (H, W) or (H, W, 3) int."""
    if "PixelData" not in dataset:
        raise UserError("a DICOM file without an image")
    if not syntax.is_encapsulated:
        return pixel_array(dataset)
    try:
        _check_frame(get_frame(dataset.PixelData, 0, number_of_frames=1), dataset, syntax)
        return pixel_array(dataset)
    except DAMAGE:
        raise UserError(
            f"its pixels cannot be decoded ({syntax.name}, {dataset.BitsStored} bits): damaged, or of a kind "
            f"that the installed decoders do not support; {CONVERT}"
        ) from None


def _check_frame(frame: bytes, dataset: Dataset, syntax: UID) -> None:
    """Raises `ValueError` if a compressed frame would unpack to more than the size that the header states."""
    if syntax in PILLOWS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the header is stricter
            size = Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")).size
        if size != (dataset.Columns, dataset.Rows):
            raise ValueError("size")
    elif syntax == RLELossless:
        count, *offsets = struct.unpack_from("<16L", frame)
        for start, end in zip(offsets[:count], [*offsets[1:count], len(frame)], strict=True):
            _check_segment(frame[start:end], dataset.Rows * dataset.Columns)


def _check_segment(segment: bytes, pixels: int) -> None:
    """PackBits (PS3.5 G.3.1): a byte n below 128 announces n + 1 bytes, above 128 one byte 257 - n times."""
    position = unpacked = 0
    while position < len(segment):
        n = segment[position]
        position += n + 2 if n < 128 else 2 if n > 128 else 1
        unpacked += n + 1 if n < 128 else 257 - n if n > 128 else 0
        if unpacked > pixels + 128:  # segments are padded
            raise ValueError("size")


def _colour(dataset: Dataset, values: np.ndarray) -> Image.Image:
    if dataset.BitsStored > 8:
        values = np.rint(values * (255 / (2**dataset.BitsStored - 1)))
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def _square_pixels(image: Image.Image, dataset: Dataset) -> Image.Image:
    aspect = _pixel_aspect(dataset)
    if abs(aspect - 1) < 0.01:  # spacings are measured, and rounded
        return image
    # Only shrunk, so that a wrong spacing cannot fill the memory.
    width, height = image.width * min(1, 1 / aspect), image.height * min(1, aspect)
    return image.resize((max(1, round(width)), max(1, round(height))), Image.Resampling.BICUBIC)


def _pixel_aspect(dataset: Dataset) -> float:
    """Height over width of a pixel; 1 if the file does not state it."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        if dataset.get(keyword):
            vertical, horizontal = (float(value) for value in dataset[keyword].value)
            if not (0 < vertical < math.inf and 0 < horizontal < math.inf):
                raise UserError(f"{keyword} is {vertical:g} x {horizontal:g}; both must be above 0")
            return vertical / horizontal
    return 1.0
