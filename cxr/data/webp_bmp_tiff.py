"""What of WebP, BMP and TIFF is read, and its limits: one image, of 8 bits, or grey of up to 16.

Refused are kinds that no radiograph needs and that let a small file cost its decoder much: animations, pages,
tiles, run-length coded BMP, TIFF with a compression other than LZW, Deflate and PackBits.
"""

from PIL import Image

from cxr.core.errors import PixelCountError, UserError
from cxr.data.metered import MAX_ELEMENT_BYTES, MAX_HEADER, Metered

SUFFIXES = frozenset({".webp", ".bmp", ".tif", ".tiff"})
MAX_CHUNKS = 64  # of a WebP; a still image has up to six
COMPRESSIONS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits")  # as Pillow calls them
PHOTOMETRIC, TILE_WIDTH = 262, 322  # TIFF 6.0, tags
BLOCK = 2**16  # bytes that Pillow reads at once
# libwebp decodes into two canvases of 4 bytes a pixel, and Pillow copies one of them twice.
WEBP_SHARE = 2 / 3  # of the pixels that other formats are allowed


def is_webp(content: bytes) -> bool:
    return content[:4] == b"RIFF" and content[8:12] == b"WEBP"


def max_header(content: bytes) -> int:
    """Bytes that may be read before the pixels: of a TIFF fewer, since each offset of a strip, four bytes,
    becomes an object of Python."""
    return MAX_ELEMENT_BYTES if content[:2] in (b"II", b"MM") else MAX_HEADER


def check_webp(content: bytes, max_pixels: int) -> None:
    """Raises `UserError` for too many pixels or chunks; before Pillow opens the file, which reserves the
    memory of the canvas and of a list of chunks (RFC 9649)."""
    at = 12
    for _ in range(MAX_CHUNKS):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    if at < len(content):
        raise UserError(f"a WebP of more than {MAX_CHUNKS} chunks")
    kind, header = content[12:16], content[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(header[at : at + 3], "little") for at in (4, 7))
    elif kind == b"VP8L":
        bits = int.from_bytes(header[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(header[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    allowed = int(WEBP_SHARE * max_pixels)
    if width * height > allowed:
        raise PixelCountError(f"{width} x {height} pixels; at most {allowed:,} in WebP")


def check_kind(image: Image.Image) -> None:
    """Raises `UserError` for an opened WebP, BMP or TIFF file, of which no pixel has been decoded, that is
    none of those read here."""
    if getattr(image, "is_animated", False):
        what = "pages" if image.format == "TIFF" else "frames"
        raise UserError(f"a {image.format} of several {what}; save one of them")
    if image.format == "BMP" and image.info.get("compression"):
        raise UserError("a BMP that is compressed; save it as PNG")
    if image.format != "TIFF":
        return
    tags = image.tag_v2  # type: ignore[attr-defined]  # of Pillow's TiffImageFile
    compression = image.info.get("compression")
    if compression not in COMPRESSIONS:
        raise UserError(f"a TIFF with the compression {compression}; save it with LZW, Deflate or none")
    if TILE_WIDTH in tags:
        raise UserError("a TIFF in tiles; save it in strips")
    if image.mode in ("F", "I"):
        raise UserError("a TIFF of 32-bit or signed grey levels; save it with 8 or 16 bits, 0 as black")
    if image.mode.startswith("I") and tags.get(PHOTOMETRIC) == 0:
        raise UserError("a TIFF of 16 bits in which 0 is white; save it with 0 as black")


def limit_rest(image: Image.Image, metered: Metered) -> None:
    """Limits the bytes that are still read of an opened TIFF: strips, of which each takes a block at least,
    and tags, once more."""
    metered.header_ended(len(metered.getbuffer()) + BLOCK * len(image.tile) + MAX_ELEMENT_BYTES)  # type: ignore[attr-defined]
