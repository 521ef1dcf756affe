"""Radiographs in DICOM files: from stored values to the grey levels that the standard specifies for display.

Part 10 of the standard describes the file, part 3 its content; pydicom (https://pydicom.github.io) parses and
decodes it. Only the elements listed here are read: no name, date or identifier of a patient.
"""

import contextlib
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
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.encaps import get_frame
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_partial
from pydicom.pixels import convert_color_space, get_decoder
from pydicom.tag import BaseTag
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
)

from cxr.core.errors import PixelCountError, UserError
from cxr.data.blocks import row_blocks
from cxr.data.grayscale import to_grey_levels
from cxr.data.metered import (
    MAX_ELEMENT_BYTES,
    MAX_ELEMENT_READS,
    MAX_HEADER,
    MAX_VALUES,
    Metered,
    check_scans,
)

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
JPEG2000S = (JPEG2000, JPEG2000Lossless)
PILLOWS = (JPEGBaseline8Bit, JPEGExtended12Bit, *JPEG2000S)  # what Pillow decodes
PIXEL_DATA = 0x7FE00010
TABLES = ("ModalityLUTSequence", "VOILUTSequence")
ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # their tag, little and big endian
MAX_ITEMS, MAX_FRAGMENTS = 64, 4096  # of a table sequence, of which the first counts; of a frame, mostly one
TAGS: list[BaseTag | int] = [tag_for_keyword(keyword) or 0 for keyword in HEADER]
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
        file = Metered(file.read(), MAX_ELEMENT_READS, MAX_ELEMENT_BYTES, MAX_VALUES)
        syntax = _transfer_syntax(file)
        file.seek(0)
        dataset = read_partial(file, stop_when=lambda tag, *_: tag >= PIXEL_DATA, specific_tags=TAGS)
        _check_tables(dataset)
        _check(dataset, max_pixels, syntax)
        file.header_ended()
        _read_pixels(file, dataset)
        del file
        values = _decode(dataset, syntax)
        dataset.pop(PIXEL_DATA)  # its memory is needed for the grey levels
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


def _check_tables(header: Dataset) -> None:
    """Raises `ValueError` for a sequence of many items, which pydicom would parse where it is used."""
    for keyword in TABLES:
        element = header.get_item(keyword)
        value = element.value if isinstance(element, RawDataElement) and element.value else b""
        if max(value.count(item) for item in ITEMS) > MAX_ITEMS:
            raise ValueError("items")


def _read_pixels(file: BinaryIO, header: Dataset) -> None:
    """Read the element at which the header ended."""
    order = header.original_encoding
    rest = read_dataset(file, bool(order[0]), bool(order[1]), stop_when=lambda tag, *_: tag > PIXEL_DATA)
    if PIXEL_DATA not in rest:
        raise UserError("a DICOM file without an image")
    header[PIXEL_DATA] = rest.get_item(PIXEL_DATA)


def _check(header: Dataset, max_pixels: int, syntax: UID) -> None:
    modality = str(header.get("Modality") or "")
    if modality not in MODALITIES:
        raise UserError(f"modality {_code(modality)}, not a radiograph (CR or DX)")
    if "Rows" not in header or "Columns" not in header:
        raise UserError("a DICOM file without an image")
    rows, columns = int(header.Rows), int(header.Columns)
    if header.get("SamplesPerPixel") == 3 and (syntax in JPEG2000S or header.get("BitsAllocated") == 16):
        max_pixels = max_pixels * 2 // 3  # these take up to 24 bytes a pixel, all others at most 16
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
    """Stored values, (H, W) or (H, W, 3) int; colours are RGB."""
    try:
        if syntax.is_encapsulated:
            frame = _frame(dataset)
            if syntax == RLELossless:
                syntax = _unpack(frame, dataset)
            elif syntax in PILLOWS:
                _check_frame(frame, dataset)
        # With the photometric interpretation that the compressed image states where the file's is another.
        values, properties = get_decoder(syntax).as_array(dataset, raw=True)
    except DAMAGE:
        if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            raise
        raise UserError(
            f"its pixels cannot be decoded ({syntax.name}, {dataset.BitsStored} bits): damaged, or of a kind "
            f"that the installed decoders do not support; {CONVERT}"
        ) from None
    except UserError as error:
        raise UserError(f"its pixels cannot be decoded ({syntax.name}): {error}") from None
    if properties["photometric_interpretation"] in ("YBR_FULL", "YBR_FULL_422"):
        for rows in row_blocks(*values.shape[:2]):
            values[rows] = convert_color_space(values[rows], "YBR_FULL", "RGB")
    return values


def _frame(dataset: Dataset) -> bytes:
    if dataset.PixelData.count(ITEMS[0]) > MAX_FRAGMENTS:
        raise ValueError("fragments")
    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def _check_frame(frame: bytes, dataset: Dataset) -> None:
    """Raises an error if a frame would unpack to more than the size that the header states, or take long."""
    check_scans(frame)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the header is stricter
        file = Metered(frame, MAX_ELEMENT_READS, MAX_HEADER)
        size = Image.open(file, formats=("JPEG", "JPEG2000")).size
    if size != (dataset.Columns, dataset.Rows):
        raise ValueError("size")


def _unpack(frame: bytes, dataset: Dataset) -> UID:
    """Replace run lengths (PS3.5 annex G) by what they stand for. Returns the transfer syntax of that.

    Each segment is one byte of one sample of all pixels, the most significant byte first, in PackBits.
    pydicom's decoder in Python takes minutes for some files; Pillow's unpacks no more than it is asked for.
    """
    pixels, samples = dataset.Rows * dataset.Columns, dataset.SamplesPerPixel
    width = dataset.BitsAllocated // 8
    count, *offsets = struct.unpack_from("<16L", frame)
    bounds = [*offsets[:count], len(frame)]
    if count != samples * width or bounds != sorted(bounds) or bounds[0] < 64:
        raise ValueError("segments")
    values = np.empty((pixels, samples, width), np.uint8)
    for number in range(count):
        segment = frame[bounds[number] : bounds[number + 1]]
        sample, significance = divmod(number, width)
        values[:, sample, width - 1 - significance] = _unpack_bits(segment, pixels)
        with contextlib.suppress(ValueError):
            _unpack_bits(segment, pixels + 256)  # a segment may be padded, and has not that much more
            raise UserError("more pixels than its header states")
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].is_undefined_length = False
    dataset.PlanarConfiguration = 0
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ExplicitVRLittleEndian


def _unpack_bits(segment: bytes, length: int) -> np.ndarray:
    """(length,) uint8. Raises `ValueError` if the segment holds fewer."""
    return np.asarray(Image.frombytes("L", (length, 1), segment, "packbits", "L"))[0]


def _colour(dataset: Dataset, values: np.ndarray) -> Image.Image:
    if dataset.BitsStored <= 8:
        return Image.fromarray(values.clip(0, 255).astype(np.uint8))
    levels = np.empty(values.shape, np.uint8)
    for rows in row_blocks(*values.shape[:2]):
        levels[rows] = np.rint(values[rows] * (255 / (2**dataset.BitsStored - 1))).clip(0, 255)
    return Image.fromarray(levels)


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
