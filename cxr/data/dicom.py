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
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset, read_partial
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from cxr.core.errors import PixelCountError, UserError
from cxr.data.blocks import row_blocks
from cxr.data.dicom_elements import DAMAGE, ITEMS, PIXEL_DATA, TABLES, TAGS
from cxr.data.dicom_pixels import JPEG2000S, check_syntax, decode_pixels
from cxr.data.grayscale import to_grey_levels
from cxr.data.metered import MAX_ELEMENT_BYTES, MAX_ELEMENT_READS, MAX_VALUES, Metered

# Projection radiography, digitised film, and what converted images state or leave empty.
MODALITIES = ("CR", "DX", "DR", "RG", "RF", "HC", "SC", "OT", "")
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
MAX_PIXEL_BYTES = 4  # a pixel of those allowed, on average: of 16-bit colour, which has 6, two thirds are
PIECE = 4096  # bytes, which inflate to 1,032 times as many at most
MAX_ITEMS = 64  # of a table sequence, of which the first counts
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
        file, syntax = open_dicom(file.read(), max_pixels)
        dataset = read_partial(file, stop_when=lambda tag, *_: tag >= PIXEL_DATA, specific_tags=TAGS)
        _check_tables(dataset)
        _check(dataset, max_pixels, syntax)
        file.header_ended()
        _read_pixels(file, dataset)
        dataset.buffer = None  # the file, which pydicom keeps for writing
        del file
        values = decode_pixels(dataset, syntax)
        dataset.pop(PIXEL_DATA)  # its memory is needed for the grey levels
        image = _colour(dataset, values) if values.ndim == 3 else to_grey_levels(dataset, values)
        return Radiograph(_square_pixels(image, dataset), int(dataset.BitsStored))
    except UserError as error:
        raise type(error)(f"{name}: {error}") from None
    except DAMAGE as error:
        # Without its text, which may quote values of the file.
        raise UserError(f"{name}: damaged or incomplete DICOM file ({type(error).__name__})") from None


def open_dicom(content: bytes, max_pixels: int) -> tuple[Metered, UID]:
    """A file at its start, not deflated, that limits what of it is read, and its transfer syntax.

    Raises `UserError` for one that cannot be read here, and what `DAMAGE` lists for a damaged file.
    """
    # In memory, so that a length stated by a damaged file is bounded by the size of the file.
    file = _metered(content)
    syntax = _transfer_syntax(file)
    if syntax == DeflatedExplicitVRLittleEndian:
        file, syntax = _inflated(file, max_pixels), ExplicitVRLittleEndian
    file.seek(0)
    return file, syntax


def _transfer_syntax(content: BinaryIO) -> UID:
    """The encoding of the rest of the file, from the meta information after the preamble (PS3.10 7.1)."""
    content.seek(132)
    meta = read_dataset(content, False, True, stop_when=lambda tag, *_: tag >> 16 != 2)
    syntax = UID(meta.TransferSyntaxUID)
    if not syntax.is_valid:
        raise ValueError("transfer syntax")
    check_syntax(syntax)
    return syntax


def _metered(content: bytes) -> Metered:
    return Metered(content, MAX_ELEMENT_READS, MAX_ELEMENT_BYTES, MAX_VALUES)


def _inflated(file: Metered, max_pixels: int) -> Metered:
    """The same file, not deflated (PS3.5 A.5). Raises an error if it is damaged, `PixelCountError` as soon as
    it unpacks to more than a radiograph of `max_pixels` pixels."""
    content = file.getvalue()
    # The first element has the length of the group, which ends where the deflated elements start.
    if struct.unpack_from("<HH2sH", content, 132) != (2, 0, b"UL", 4):
        raise ValueError("group length")
    start = 144 + struct.unpack_from("<L", content, 140)[0]
    syntax = struct.pack("<HH2sH", 2, 0x10, b"UI", 20) + ExplicitVRLittleEndian.encode().ljust(20, b"\0")
    inflated = _metered(bytes(128) + b"DICM" + syntax)
    inflated.seek(0, io.SEEK_END)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for at in range(start, len(content), PIECE):
        inflated.write(inflater.decompress(content[at : at + PIECE]))
        if inflated.tell() > MAX_ELEMENT_BYTES + MAX_PIXEL_BYTES * max_pixels:
            raise PixelCountError(f"unpacks to more than {max_pixels:,} pixels take")
        if inflater.eof:
            return inflated
    raise ValueError("deflated elements")


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
