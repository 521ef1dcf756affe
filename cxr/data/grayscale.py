"""From the stored values of a DICOM image to grey levels: the standard's grayscale transformations.

Modality LUT, VOI LUT, then MONOCHROME1 is inverted (PS3.4 N.2), and padding is black. Lookup tables are
applied here and not by pydicom 3.0, whose function wraps around in tables of 8-bit entries that are longer
than 256, and raises an error for 12-bit entries.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image
from pydicom import Dataset

from cxr.core.errors import UserError
from cxr.data.blocks import row_blocks


class Levels(NamedTuple):
    """values: (H, W) float32. low, high: the range of possible values, not of those present."""

    values: np.ndarray
    low: float
    high: float


def to_grey_levels(dataset: Dataset, stored: np.ndarray) -> Image.Image:
    """Grey levels from 0 (black) to 255 in Pillow's float mode. stored: (H, W) int.

    The modality LUT (PS3.3 C.11.1) is a rescale slope and intercept, or a table. The VOI LUT (C.11.2) is the
    first window; without windows the first table; without either the identity, so that black and white are
    the ends of the range of the stored bits, and differences in exposure remain. Raises `UserError` for an
    invalid window or rescale; other exceptions for damaged elements.
    """
    levels = np.empty(stored.shape, np.float32)
    inverse, padding = _is_inverse(dataset), _padding(dataset)
    for rows in row_blocks(*stored.shape):
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            grey = _voi(dataset, _modality(dataset, stored[rows]))
        if not np.isfinite(grey).all():
            raise UserError("its grey levels are not finite: damaged rescale or window")
        if inverse:
            grey = 255 - grey
        if padding:
            grey[(stored[rows] >= padding[0]) & (stored[rows] <= padding[1])] = 0
        levels[rows] = grey.clip(0, 255)
    return Image.fromarray(levels)


def _is_inverse(dataset: Dataset) -> bool:
    """Whether low values are bright. A digital radiograph says so by both elements, and is inverted once
    (PS3.3 C.8.11.3.1.2); where they contradict each other, by one of them."""
    stated = dataset.PhotometricInterpretation, dataset.get("PresentationLUTShape")
    return "MONOCHROME1" in stated or "INVERSE" in stated


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    """The lowest and the highest stored value that is no part of the radiograph (PS3.3 C.7.5.1.1.2)."""
    if dataset.get("PixelPaddingValue") is None:
        return None
    ends = [_stored_value(dataset, "PixelPaddingValue")]
    if dataset.get("PixelPaddingRangeLimit") is not None:
        ends.append(_stored_value(dataset, "PixelPaddingRangeLimit"))
    return min(ends), max(ends)


def _stored_value(dataset: Dataset, keyword: str) -> int:
    """An element that holds a stored value, with the sign of these; some files state the other one."""
    values = 2**dataset.BitsAllocated
    value = int(dataset[keyword].value) % values
    return value - values if dataset.PixelRepresentation and value >= values // 2 else value


def _modality(dataset: Dataset, stored: np.ndarray) -> Levels:
    bits = dataset.BitsStored
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dataset.PixelRepresentation else (0, 2**bits - 1)
    if dataset.get("ModalityLUTSequence"):
        return _look_up(dataset.ModalityLUTSequence[0], stored)
    slope, intercept = _number(dataset, "RescaleSlope", 1), _number(dataset, "RescaleIntercept", 0)
    if slope == 0:
        raise UserError("its RescaleSlope is 0, which makes all pixels equal")
    ends = sorted((low * slope + intercept, high * slope + intercept))
    return Levels(stored.astype(np.float32) * slope + intercept, *ends)


def _voi(dataset: Dataset, levels: Levels) -> np.ndarray:
    """(H, W) float32: 0 is black, 255 white; values beyond both are clipped later."""
    if dataset.get("WindowWidth") is not None and dataset.get("WindowCenter") is not None:
        return _window(dataset, levels.values)
    if dataset.get("VOILUTSequence"):
        levels = _look_up(dataset.VOILUTSequence[0], levels.values)
    return (levels.values - levels.low) * (255 / (levels.high - levels.low))


def _window(dataset: Dataset, values: np.ndarray) -> np.ndarray:
    """The functions of PS3.3 C.11.2.1.2.1 and C.11.2.1.3."""
    centre, width = _number(dataset, "WindowCenter", 0), _number(dataset, "WindowWidth", 0)
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise UserError(f"its WindowWidth is {width:g}, too small")
    if function == "SIGMOID":
        return 255 / (1 + np.exp(-4 * (values - centre) / width))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    elif function != "LINEAR_EXACT":
        raise UserError("its VOILUTFunction is none of LINEAR, LINEAR_EXACT and SIGMOID")
    if width == 0:
        return np.where(values > centre, np.float32(255), np.float32(0))
    return (values - centre) * (255 / width) + 127.5


def _look_up(item: Dataset, values: np.ndarray) -> Levels:
    """Apply the table of an item of a LUT sequence. Values outside its range get its first or last entry."""
    entries, first, bits = item.LUTDescriptor
    data = item.LUTData
    if isinstance(data, bytes):  # OW; otherwise pydicom has converted it to numbers
        order = ">" if item.original_encoding[1] is False else "<"
        data = np.frombuffer(data, np.uint8 if len(data) == entries else f"{order}u2")
    table = np.asarray(data, np.float32)
    # Some devices state more bits than their entries use, which would darken the radiograph.
    high = 2 ** min(int(bits), int(table.max()).bit_length()) - 1
    positions = np.rint(values - np.float32(first)).clip(0, len(table) - 1)
    return Levels(table[positions.astype(np.intp)], 0, high)


def _number(dataset: Dataset, keyword: str, default: float) -> float:
    """The first value of an element. Raises `UserError` if it is not a finite number."""
    value = dataset.get(keyword)
    if value is None:
        return default
    number = float(value[0] if dataset[keyword].VM > 1 else value)
    if not math.isfinite(number):
        raise UserError(f"its {keyword} is not a finite number")
    return number
