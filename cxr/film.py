"""The one way from a picture file to a stored image: grey, centre square, antialiased bicubic.

MedMNIST v2 (Yang et al., 2023, https://doi.org/10.1038/s41597-022-01721-8) crops the centre square of a
film and resizes it bicubically, so a film read here looks to the model like the pictures it learnt from.
"""

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cxr.errors import UserError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".dcm"})
MAX_PIXELS = (
    100_000_000  # larger than any film; refused before decoding, so that no small file fills the memory
)


@dataclass(frozen=True)
class Original:
    """A film as its file holds it, upright.

    square: its centre square at full resolution, grey levels from 0, black, to 255 in Pillow's float mode.
    width, height: pixels of the whole film. bits: of a grey level in the file.
    """

    square: Image.Image
    width: int
    height: int
    bits: int

    def resized(self, size: int) -> np.ndarray:
        """The centre square as a (size, size) uint8 image."""
        # Pillow's bicubic widens when it shrinks.
        return _to_uint8(self.square.resize((size, size), Image.Resampling.BICUBIC))

    def full(self) -> np.ndarray:
        """The centre square at full resolution, (side, side) uint8."""
        return _to_uint8(self.square)


def read_film(path: Path | str, size: int) -> np.ndarray:
    """Read a PNG, JPEG or DICOM file as a (size, size) uint8 image; refuses as `read_original` does."""
    return read_original(path).resized(size)


def read_film_bytes(data: bytes, name: str, size: int) -> np.ndarray:
    """`read_film` of what a file holds. name: what messages call it."""
    return read_original_bytes(data, name).resized(size)


def read_original(path: Path | str) -> Original:
    """Read a PNG or JPEG (grey, colour, palette or CMYK; 8 or 16 bit) or a DICOM radiograph (`cxr.dicom`),
    whichever it is by its content.

    Raises `UserError` if the file is missing, not such a picture, damaged or larger than `MAX_PIXELS`.
    """
    try:
        with Path(path).open("rb") as file:
            return _read(file, str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: a folder, not a picture") from None
    except OSError as error:
        raise UserError(f"{path}: damaged or unreadable picture ({error})") from None


def read_original_bytes(data: bytes, name: str) -> Original:
    """`read_original` of what a file holds. name: what messages call it."""
    return _read(io.BytesIO(data), name)


def is_dicom(file: BinaryIO) -> bool:
    """Whether a DICOM file starts here: 128 bytes, then DICM (PS3.10 7.1). Leaves `file` where it was."""
    start = file.read(132)
    file.seek(-len(start), io.SEEK_CUR)
    return start[128:] == b"DICM"


def _read(file: BinaryIO, name: str) -> Original:
    if is_dicom(file):
        from cxr.dicom import read_dicom  # here, since pydicom takes a while to import

        radiograph = read_dicom(file, name, MAX_PIXELS)
        return _original(radiograph.picture, radiograph.bits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is stricter
            with Image.open(file, formats=("PNG", "JPEG")) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise UserError(
                        f"{name}: {picture.width} x {picture.height} pixels; at most {MAX_PIXELS:,}"
                    )
                bits = 16 if picture.mode.startswith("I") else 8
                return _original(ImageOps.exif_transpose(picture), bits)
    except UnidentifiedImageError:
        raise UserError(f"{name}: not a PNG, JPEG or DICOM picture") from None
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise UserError(f"{name}: damaged or unreadable picture ({error})") from None


def _original(picture: Image.Image, bits: int) -> Original:
    grey = _grey(picture)
    side = min(grey.size)
    left, top = (grey.width - side) // 2, (grey.height - side) // 2
    return Original(grey.crop((left, top, left + side, top + side)), grey.width, grey.height, bits)


def _to_uint8(grey: Image.Image) -> np.ndarray:
    return np.clip(np.rint(np.asarray(grey)), 0, 255).astype(np.uint8)


def _grey(picture: Image.Image) -> Image.Image:
    """Grey levels 0-255 in Pillow's float mode, so that 8 and 16 bit take the same way."""
    if picture.mode.startswith("I"):
        levels = np.asarray(picture).astype(np.float32)
        return Image.fromarray(levels * (255.0 / _white(float(levels.max()))))
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        colour = picture.convert("RGBA")
        black = Image.new("RGBA", colour.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, colour)
    if picture.mode not in ("L", "F"):
        picture = picture.convert("RGB").convert("L")
    return picture.convert("F")


def _white(brightest: float) -> float:
    """The white of the smallest usual bit depth that holds `brightest`.

    A 16-bit PNG does not say how many bits its detector had; stretching each film to its own brightest
    pixel instead would throw its exposure away.
    """
    return next(float(2**bits - 1) for bits in (8, 10, 12, 14, 16) if brightest < 2**bits)
