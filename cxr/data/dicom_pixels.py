"""From the pixel data of a DICOM file to stored values: which decoder reads which transfer syntax (PS3.5).

Native and run-length pixels need none, Pillow decodes JPEG and JPEG 2000, and `cxr.data.dicom_jpeg` the rest.
docs/dicom.md lists them. What a compressed image would unpack to is checked before it is decoded.
"""

import contextlib
import struct
import warnings

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import convert_color_space, get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
)

from cxr.core.errors import UserError
from cxr.data.blocks import row_blocks
from cxr.data.dicom_elements import DAMAGE, ITEMS
from cxr.data.dicom_jpeg import PROCESSES, decode_jpeg, is_installed
from cxr.data.metered import MAX_ELEMENT_READS, MAX_HEADER, Metered, check_scans

NATIVE = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
JPEG2000S = (JPEG2000, JPEG2000Lossless)
PILLOWS = (JPEGBaseline8Bit, JPEGExtended12Bit, *JPEG2000S)
MAX_FRAGMENTS = 4096  # of a frame, mostly one
CONVERT = "convert it to Explicit VR Little Endian, for example with GDCM's `gdcmconv --raw`"


def check_syntax(syntax: UID) -> None:
    """Raises `UserError` for a transfer syntax that cannot be read, or not with what is installed."""
    if syntax in (*NATIVE, *PILLOWS, RLELossless):
        return
    what = f"its transfer syntax {syntax.name} ({syntax})"
    if syntax not in PROCESSES:
        raise UserError(f"{what} cannot be read here; {CONVERT}")
    if not is_installed():
        raise UserError(f"{what} needs a decoder: pip install 'cxr[dicom]', or {CONVERT}")


def decode_pixels(dataset: Dataset, syntax: UID) -> np.ndarray:
    """Stored values, (H, W) or (H, W, 3) int; colours are RGB.

    dataset: with its pixel data and the elements that describe it, checked. syntax: one that `check_syntax`
    accepts. Raises `UserError` if compressed pixels cannot be decoded, what `DAMAGE` lists if native ones
    are damaged.
    """
    try:
        values, kind = _decode(dataset, syntax)
    except DAMAGE:
        if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            raise
        raise UserError(
            f"its pixels cannot be decoded ({syntax.name}, {dataset.BitsStored} bits): damaged, or of a kind "
            f"that the installed decoders do not support; {CONVERT}"
        ) from None
    except UserError as error:
        raise UserError(f"its pixels cannot be decoded ({syntax.name}): {error}") from None
    if kind in ("YBR_FULL", "YBR_FULL_422"):
        for rows in row_blocks(*values.shape[:2]):
            values[rows] = convert_color_space(values[rows], "YBR_FULL", "RGB")
    return values


def _decode(dataset: Dataset, syntax: UID) -> tuple[np.ndarray, str]:
    """Stored values, and the photometric interpretation that the compressed image states, or the file."""
    plugin = ""
    if syntax.is_encapsulated:
        frame = _frame(dataset)
        if syntax == RLELossless:
            syntax = _unpack(frame, dataset)
        elif syntax in PROCESSES and (syntax not in PILLOWS or dataset.BitsStored > 8):
            return decode_jpeg(frame, dataset, syntax), str(dataset.PhotometricInterpretation)
        else:
            _check_frame(frame, dataset)
            plugin = "pillow"  # by name, so that other installed packages change nothing
    values, properties = get_decoder(syntax).as_array(dataset, raw=True, decoding_plugin=plugin)
    return values, str(properties["photometric_interpretation"])


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
