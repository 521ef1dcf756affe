"""WebP, BMP and TIFF become the same stored image as PNG; what a radiograph does not need is refused."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from cxr.core.errors import PixelCountError
from cxr.data.folders import find_radiographs
from cxr.data.radiograph import read_original_bytes
from cxr.data.webp_bmp_tiff import check_webp
from tests.builders import noise_images, refused

GREY = noise_images(1, 70)[0][:50]
EXIF = b"Exif\0\0II*\0\x08\0\0\0\0\0"
COMPRESSIONS = (None, "tiff_lzw", "tiff_adobe_deflate", "packbits")


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def grey(mode: str) -> Image.Image:
    match mode:
        case "I;16":
            return Image.fromarray(GREY.astype(np.uint16) * 257)
        case "I;16B":
            return Image.fromarray((GREY.astype(np.uint16) * 257).astype(">u2"))
        case "I" | "F":
            return Image.fromarray(GREY).convert(mode)
    return Image.fromarray(GREY).convert(mode)


def full(content: bytes) -> np.ndarray:
    return read_original_bytes(content, "image").full()


LOSSLESS = [("BMP", mode, {}) for mode in ("L", "P", "RGB", "RGBA")]
LOSSLESS += [("WEBP", mode, {"lossless": True}) for mode in ("RGB", "RGBA")]
LOSSLESS += [
    ("TIFF", mode, {"compression": compression})
    for mode in ("L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I;16B")
    for compression in COMPRESSIONS
]


@pytest.mark.parametrize(("kind", "mode", "options"), LOSSLESS)
def test_lossless_files_equal_the_png(kind, mode, options):
    original = read_original_bytes(saved(grey(mode), kind, **options), "image")
    assert (original.width, original.height) == (70, 50)
    assert original.bits == (16 if mode.startswith("I") else 8)
    expected = read_original_bytes(saved(Image.fromarray(GREY), "PNG"), "image")
    np.testing.assert_array_equal(original.full(), expected.full())
    np.testing.assert_array_equal(original.resized(28), expected.resized(28))


def test_lossy_webp_is_close_to_the_png():
    smooth = Image.fromarray(np.add.outer(np.arange(50), np.arange(70)).astype(np.uint8))
    difference = full(saved(smooth, "WEBP", quality=95)).astype(int) - full(saved(smooth, "PNG"))
    assert abs(difference).max() <= 4


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(("orientation", "quarters"), [(3, 2), (6, 1), (8, -1)])
def test_orientation_of_a_tiff_is_undone_once(compression, orientation, quarters):
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(GREY, quarters)))
    content = saved(turned, "TIFF", compression=compression, exif=exif)
    np.testing.assert_array_equal(full(content), full(saved(Image.fromarray(GREY), "PNG")))


@pytest.mark.parametrize(("photometric", "bits"), [(0, 1), (0, 8)])
def test_white_as_zero_is_inverted(photometric, bits):
    image = Image.fromarray(GREY) if bits == 8 else Image.fromarray(GREY > 127)
    content = saved(image, "TIFF", tiffinfo={262: photometric})
    dark = full(saved(image.convert("L"), "PNG"))
    # Pillow writes the levels as the tag says, so that they come back as they were.
    np.testing.assert_array_equal(full(content), dark)


def runs() -> bytes:
    """A BMP of four pixels whose header says that they are run-length coded."""
    content = bytearray(saved(Image.fromarray(GREY), "BMP"))
    content[30] = 1
    return bytes(content)


def white_is_zero() -> bytes:
    content = saved(grey("I;16"), "TIFF")
    at = content.index((262).to_bytes(2, "little") + b"\x03\0\x01\0\0\0\x01")
    return content[: at + 8] + b"\0" + content[at + 9 :]


def fractional_offset() -> bytes:
    """A TIFF whose rows start at a float, for which Pillow raises TypeError."""
    content = saved(grey("L"), "TIFF")
    offsets = next(
        struct.pack("<HHL", 273, kind, 1) for kind in (3, 4) if struct.pack("<HHL", 273, kind, 1) in content
    )
    return content.replace(offsets, struct.pack("<HHL", 273, 11, 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            saved(grey("RGB"), "WEBP", save_all=True, append_images=[grey("RGB").rotate(180)]),
            "a WEBP of several frames; save one of them",
        ),
        (saved(grey("L"), "TIFF", save_all=True, append_images=[grey("L")]), "a TIFF of several pages"),
        (saved(grey("L"), "TIFF", compression="jpeg"), "a TIFF with the compression jpeg; save it with LZW"),
        (saved(grey("L"), "TIFF", compression="zstd"), "a TIFF with the compression zstd; save it with LZW"),
        (saved(grey("F"), "TIFF"), "a TIFF of 32-bit or signed grey levels; save it with 8 or 16 bits"),
        (saved(grey("I"), "TIFF"), "a TIFF of 32-bit or signed grey levels; save it with 8 or 16 bits"),
        (white_is_zero(), "a TIFF of 16 bits in which 0 is white; save it with 0 as black"),
        (runs(), "a BMP that is compressed; save it as PNG"),
        (saved(grey("L"), "TIFF")[:-900], "damaged or unreadable image"),
        (saved(grey("RGB"), "WEBP")[:-300], "damaged or unreadable image"),
        (fractional_offset(), "damaged or unreadable image"),
    ],
    ids=[
        *("animation", "pages", "jpeg in tiff", "zstd", "float", "32 bit", "white is 0", "runs"),
        *("cut tiff", "cut webp", "fractional offset"),
    ],
)
def test_other_kinds_are_an_error_of_one_line(content, message):
    with refused("image: ", message):
        read_original_bytes(content, "image")


@pytest.mark.parametrize("options", [{"lossless": True}, {}, {"lossless": True, "exif": EXIF}])
def test_pixels_of_a_webp_are_counted_before_it_is_opened(options):
    """Kinds of header: VP8L, VP8 and VP8X."""
    content = saved(grey("RGB"), "WEBP", **options)
    assert content[12:16] == {0: b"VP8 ", 1: b"VP8L", 2: b"VP8X"}[len(options)]
    check_webp(content, 5250)  # 50 x 70 pixels are two thirds of that
    with pytest.raises(PixelCountError, match="70 x 50 pixels; at most 3,499 in WebP"):
        check_webp(content, 5249)


@pytest.mark.parametrize("kind", ["WEBP", "BMP", "TIFF"])
def test_pixels_are_limited(kind):
    content = saved(grey("RGB"), kind)
    with pytest.raises(PixelCountError, match="70 x 50 pixels"):
        read_original_bytes(content, "image", 3499)


def test_folders_offer_them_too(tmp_path):
    names = ["a.webp", "b.BMP", "c.tif", "d.tiff", "e.gif"]
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in find_radiographs(tmp_path)] == names[:4]
