"""The one way from a picture file to a stored image: grey, centre square, antialiased bicubic.

MedMNIST v2 (Yang et al., 2023, https://doi.org/10.1038/s41597-022-01721-8) crops the centre square of a
radiograph and resizes it bicubically, so a radiograph read here looks to the model like the pictures it
learnt from.
"""

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cxr.core.errors import FormatError, PixelCountError, UserError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".dcm"})
MAX_PIXELS = (
    100_000_000  # larger than any radiograph; refused before decoding, so that no small file fills the memory
)
# Before a radiograph is resized, its pixels are averaged in blocks, down to this many times the wanted side,
# as Pillow does with its `reducing_gap`. That takes an eighth of the time, and one pixel in eleven of the
# real radiographs, at 28 pixels a side, changes by a grey level.
GAP = 6


@dataclass(frozen=True)
class Original:
    """A radiograph as its file holds it, upright.

    square: its centre square at full resolution, grey levels from 0, black, to 255, in Pillow's mode L or its
    float mode F. width, height: pixels of the whole radiograph. bits: of a grey level in the file.
    """

    square: Image.Image
    width: int
    height: int
    bits: int

    def resized(self, size: int) -> np.ndarray:
        """The centre square as a (size, size) uint8 image."""
        factor = max(1, self.square.width // (size * GAP))
        blocks, side = self.square.reduce(factor).convert("F"), self.square.width / factor
        # Pillow's bicubic widens when it shrinks.
        return _to_uint8(blocks.resize((size, size), Image.Resampling.BICUBIC, (0, 0, side, side)))

    def full(self) -> np.ndarray:
        """The centre square at full resolution, (side, side) uint8."""
        return _to_uint8(self.square)


def read_radiograph(path: Path | str, size: int) -> np.ndarray:
    """Read a PNG, JPEG or DICOM file as a (size, size) uint8 image; refuses as `read_original` does."""
    return read_original(path).resized(size)


def read_radiograph_bytes(data: bytes, name: str, size: int) -> np.ndarray:
    """`read_radiograph` of what a file holds. name: what messages call it."""
    return read_original_bytes(data, name).resized(size)


def read_original(path: Path | str) -> Original:
    """Read a PNG or JPEG (grey, colour, palette or CMYK; 8 or 16 bit) or a DICOM radiograph
    (`cxr.data.dicom`), whichever it is by its content.

    Raises `UserError` if the file is missing or damaged, `FormatError` if it is of another kind,
    `PixelCountError` if it has more than `MAX_PIXELS`.
    """
    try:
        with Path(path).open("rb") as file:
            return _read(file, str(path), MAX_PIXELS)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: a folder, not a picture") from None
    except OSError as error:
        raise UserError(f"{path}: damaged or unreadable picture ({error})") from None


def read_original_bytes(data: bytes, name: str, max_pixels: int | None = None) -> Original:
    """`read_original` of what a file holds. name: what messages call it. max_pixels: None is `MAX_PIXELS`."""
    return _read(io.BytesIO(data), name, max_pixels or MAX_PIXELS)


def is_dicom(file: BinaryIO) -> bool:
    """Whether a DICOM file starts here: 128 bytes, then DICM (PS3.10 7.1). Leaves `file` where it was."""
    start = file.read(132)
    file.seek(-len(start), io.SEEK_CUR)
    return start[128:] == b"DICM"


def _read(file: BinaryIO, name: str, max_pixels: int) -> Original:
    if is_dicom(file):
        from cxr.data.dicom import read_dicom

        radiograph = read_dicom(file, name, max_pixels)
        return _original(radiograph.picture, radiograph.bits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is stricter
            with Image.open(file, formats=("PNG", "JPEG")) as picture:
                if picture.width * picture.height > max_pixels:
                    raise PixelCountError(
                        f"{name}: {picture.width} x {picture.height} pixels; at most {max_pixels:,}"
                    )
                bits = 16 if picture.mode.startswith("I") else 8
                ImageOps.exif_transpose(picture, in_place=True)
                return _original(picture, bits)
    except UnidentifiedImageError:
        raise FormatError(f"{name}: not a PNG, JPEG or DICOM picture") from None
    except Image.DecompressionBombError:  # Pillow's own limit
        raise PixelCountError(f"{name}: too many pixels; at most {max_pixels:,}") from None
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise UserError(f"{name}: damaged or unreadable picture ({error})") from None


def _original(picture: Image.Image, bits: int) -> Original:
    if picture.mode == "F" and np.array_equal(levels := np.asarray(picture), np.rint(levels)):
        picture = picture.convert("L")  # takes the way of the same radiograph as PNG, to the same answer
    # Of the whole radiograph, since the square may hold none of its brightest pixels.
    white = _white(float(np.asarray(picture).max())) if picture.mode.startswith("I") else 255.0
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return Original(_grey(square, white), picture.width, picture.height, bits)


def _to_uint8(grey: Image.Image) -> np.ndarray:
    return np.clip(np.rint(np.asarray(grey)), 0, 255).astype(np.uint8)


def _grey(picture: Image.Image, white: float) -> Image.Image:
    """Grey levels 0-255, in Pillow's mode L or, from 16 bits, F. white: the brightest level of 16 bits."""
    if picture.mode.startswith("I"):
        return Image.fromarray(np.asarray(picture).astype(np.float32) * (255.0 / white))
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        colour = picture.convert("RGBA")
        black = Image.new("RGBA", colour.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, colour)
    if picture.mode not in ("L", "F"):
        picture = picture.convert("RGB").convert("L")
    return picture


def _white(brightest: float) -> float:
    """The white of the smallest usual bit depth that holds `brightest`.

    A 16-bit PNG does not say how many bits its detector had; stretching each radiograph to its own brightest
    pixel instead would throw its exposure away.
    """
    return next(float(2**bits - 1) for bits in (8, 10, 12, 14, 16) if brightest < 2**bits)
