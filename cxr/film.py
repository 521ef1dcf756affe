"""The one way from a picture file to a stored image: grey, centre square, antialiased bicubic.

MedMNIST v2 (Yang et al., 2023, https://doi.org/10.1038/s41597-022-01721-8) crops the centre square of a
film and resizes it bicubically, so a film read here looks to the model like the pictures it learnt from.
"""

import struct
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cxr.errors import UserError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
MAX_PIXELS = (
    100_000_000  # larger than any film; refused before decoding, so that no small file fills the memory
)


def read_film(path: Path | str, size: int) -> np.ndarray:
    """Read a PNG or JPEG (grey, colour, palette or CMYK; 8 or 16 bit) as a (size, size) uint8 image.

    Raises `UserError` if the file is missing, not such a picture, damaged or larger than `MAX_PIXELS`.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is stricter
            with Image.open(path, formats=("PNG", "JPEG")) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise UserError(
                        f"{path}: {picture.width} x {picture.height} pixels; at most {MAX_PIXELS:,}"
                    )
                return _stored(ImageOps.exif_transpose(picture), size)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: a folder, not a picture") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: not a PNG or JPEG picture") from None
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: damaged or unreadable picture ({error})") from None


def _stored(picture: Image.Image, size: int) -> np.ndarray:
    grey = _grey(picture)
    side = min(grey.size)
    left, top = (grey.width - side) // 2, (grey.height - side) // 2
    square = grey.crop((left, top, left + side, top + side))
    square = square.resize((size, size), Image.Resampling.BICUBIC)  # Pillow's bicubic widens when it shrinks
    return np.clip(np.rint(np.asarray(square)), 0, 255).astype(np.uint8)


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
