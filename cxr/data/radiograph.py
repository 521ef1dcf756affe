"""From an image file to a stored image: grey, centre square, resized by a reading (`cxr.data.reading`)."""

import io
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cxr.core.dataset import Reading
from cxr.core.errors import FormatError, PixelCountError, UserError
from cxr.data import webp_bmp_tiff
from cxr.data.blocks import row_boxes
from cxr.data.metered import MAX_READS, Metered, check_scans
from cxr.data.reading import resize, to_uint8
from cxr.data.webp_bmp_tiff import check_kind, check_webp, is_webp, limit_rest, max_header

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".dcm"}) | webp_bmp_tiff.SUFFIXES
KINDS = "PNG, JPEG, DICOM, WebP, BMP or TIFF"
# Pillow warns of every damaged tag, of which a file can have thousands, and of sizes, for which there are
# limits here. A filter for good, since `warnings.catch_warnings` is not for threads.
warnings.filterwarnings("ignore", module=r"PIL\.")
# More than any radiograph has. Checked before decoding, so that no small file fills the memory.
MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class Original:
    """A radiograph at the resolution of its file, upright.

    square: its centre square, grey levels from 0 (black) to 255, in Pillow's mode L or its float mode F.
    width, height: pixels of the whole radiograph. bits: of a grey level in the file.
    """

    square: Image.Image
    width: int
    height: int
    bits: int

    def resized(self, size: int, reading: Reading = "plain") -> np.ndarray:
        """The centre square as a (size, size) uint8 image, made as `reading` says."""
        return resize(self.square, size, reading)

    def full(self) -> np.ndarray:
        """The centre square at full resolution, (side, side) uint8."""
        return to_uint8(self.square)


def read_radiograph(path: Path | str, size: int, reading: Reading = "plain") -> np.ndarray:
    """Read a file of `KINDS` as a (size, size) uint8 image. Raises what `read_original` raises."""
    return read_original(path).resized(size, reading)


def read_original(path: Path | str) -> Original:
    """Read a PNG or JPEG (grey, colour, palette or CMYK; 8 or 16 bit), a DICOM radiograph (`cxr.data.dicom`),
    or a WebP, BMP or TIFF (`cxr.data.webp_bmp_tiff`), recognised by its content.

    Raises `UserError` if it is missing, damaged or no regular file, `FormatError` if it is of another kind,
    `PixelCountError` if it has more than `MAX_PIXELS`.
    """
    path = Path(path)
    if path.exists() and not (path.is_file() or path.is_dir()):  # opening a FIFO would wait for its writer
        raise UserError(f"{path}: a FIFO or a device, not a file")
    try:
        with path.open("rb") as file:
            return _read(file, str(path), MAX_PIXELS)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UserError(f"{path}: a folder, not a file") from None
    except OSError as error:
        raise UserError(f"{path}: damaged or unreadable image ({error})") from None


def read_original_bytes(data: bytes, name: str, max_pixels: int | None = None) -> Original:
    """`read_original` of a file's content. name: of it in messages. max_pixels: None is `MAX_PIXELS`."""
    return _read(io.BytesIO(data), name, max_pixels or MAX_PIXELS)


def original_of_array(levels: np.ndarray) -> Original:
    """What `read_original` gives for a grey PNG of these levels, (H, W) uint8 or uint16. Raises `UserError`
    for an array of another kind."""
    if levels.ndim != 2 or levels.dtype not in (np.uint8, np.uint16) or not levels.size:
        raise UserError(
            f"an array of shape {levels.shape} and dtype {levels.dtype}: a radiograph is (height, width), "
            "uint8 or uint16, 0 black"
        )
    return _original(Image.fromarray(np.ascontiguousarray(levels)), 8 * levels.itemsize)


def is_dicom(file: BinaryIO) -> bool:
    """Whether a DICOM file starts here: 128 bytes, then DICM (PS3.10 7.1). Leaves `file` where it was."""
    start = file.read(132)
    file.seek(-len(start), io.SEEK_CUR)
    return is_dicom_start(start)


def is_dicom_start(start: bytes) -> bool:
    """`is_dicom` of the first 132 bytes of a file."""
    return start[128:132] == b"DICM"


def _read(file: BinaryIO, name: str, max_pixels: int) -> Original:
    if is_dicom(file):
        from cxr.data.dicom import read_dicom

        radiograph = read_dicom(file, name, max_pixels)
        return _original(radiograph.image, radiograph.bits)
    try:
        content = file.read()
        if content.startswith(b"\xff\xd8"):
            check_scans(content)
        metered = Metered(content, MAX_READS, max_header(content))
        if is_webp(content):
            check_webp(content, max_pixels)
            metered.header_ended()  # Pillow reads all of it to open it
        with Image.open(metered, formats=("PNG", "JPEG", "WEBP", "BMP", "TIFF")) as image:
            if image.width * image.height > max_pixels:
                raise PixelCountError(f"{image.width} x {image.height} pixels; at most {max_pixels:,}")
            if image.format in ("WEBP", "BMP", "TIFF"):
                check_kind(image)
            if image.format == "TIFF":
                limit_rest(image, metered)
            else:
                metered.header_ended()
            bits = 16 if image.mode.startswith("I") else 8
            ImageOps.exif_transpose(image, in_place=True)
            return _original(image, bits)
    except UnidentifiedImageError:
        raise FormatError(f"{name}: not a {KINDS} file") from None
    except Image.DecompressionBombError:  # Pillow's own limit
        raise PixelCountError(f"{name}: too many pixels; at most {max_pixels:,}") from None
    except UserError as error:
        raise type(error)(f"{name}: {error}") from None
    except (OSError, SyntaxError, TypeError, ValueError, struct.error) as error:
        raise UserError(f"{name}: damaged or unreadable image ({error})") from None


def _original(image: Image.Image, bits: int) -> Original:
    image.load()
    if image.mode == "F" and all(_integral(image.crop(block)) for block in row_boxes(image.size)):
        image = image.convert("L")  # then it is processed like the same radiograph as PNG, to the same result
    # Of the whole radiograph, since the square may hold none of its brightest pixels.
    white = 255.0
    if image.mode.startswith("I"):
        white = _white(max(float(np.asarray(image.crop(block)).max()) for block in row_boxes(image.size)))
    side = min(image.size)
    # Half to even, as in the reading `medmnist`.
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    if image.mode in ("L", "F"):
        square = image.crop((left, top, left + side, top + side))
    else:
        square = Image.new("F" if image.mode.startswith("I") else "L", (side, side))
        for x, y, right, bottom in row_boxes((side, side)):
            block = image.crop((left + x, top + y, left + right, top + bottom))
            square.paste(_grey(block, white), (x, y))
    return Original(square, image.width, image.height, bits)


def _integral(image: Image.Image) -> bool:
    levels = np.asarray(image)
    return np.array_equal(levels, np.rint(levels))


def _grey(image: Image.Image, white: float) -> Image.Image:
    """Grey levels 0-255, in Pillow's mode L or, from 16 bits, F. white: the brightest level of 16 bits."""
    if image.mode.startswith("I"):
        return Image.fromarray(np.asarray(image).astype(np.float32) * (255.0 / white))
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        colour = image.convert("RGBA")
        black = Image.new("RGBA", colour.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, colour)
    return image.convert("RGB").convert("L")


def _white(brightest: float) -> float:
    """The white of the smallest usual bit depth that holds `brightest`.

    A 16-bit PNG does not state how many bits its detector had; stretching each radiograph to its own
    brightest pixel instead would remove the differences in exposure.
    """
    return next(float(2**bits - 1) for bits in (8, 10, 12, 14, 16) if brightest < 2**bits)
