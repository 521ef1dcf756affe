"""Equal radiographs of any format become equal stored images; other files are errors that name the file."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, PngImagePlugin

from cxr.core.errors import UserError
from cxr.data import radiograph
from cxr.data.radiograph import read_original, read_original_bytes, read_radiograph
from tests.builders import refused

ORIENTATION, WIDTH = 0x0112, 0x0100  # EXIF tags


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise with large and small structures, so that aliasing and a shifted crop would show."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 1, 5, 5, generator=generator)
    smooth = F.interpolate(coarse, (height, width), mode="bilinear")[0, 0]
    levels = 0.7 * smooth + 0.3 * torch.rand(height, width, generator=generator)
    return (levels * 255).round().numpy().astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(60, 90, 28), (91, 60, 28), (300, 257, 28), (28, 28, 28), (20, 21, 28), (16, 40, 64)],
)
def test_crop_and_resize_equal_those_of_pytorch(tmp_path, height, width, size):
    pixels = texture(height, width)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    side = min(height, width)
    top, left = round((height - side) / 2), round((width - side) / 2)
    square = torch.from_numpy(pixels[top : top + side, left : left + side]).float()
    expected = F.interpolate(square[None, None], (size, size), mode="bicubic", antialias=True)[0, 0]

    read = read_radiograph(tmp_path / "image.png", size)

    assert read.dtype == np.uint8
    # Two float implementations may fall on either side of a half.
    np.testing.assert_allclose(read, expected.clamp(0, 255).numpy(), atol=0.51)


@pytest.mark.parametrize("side", [336, 1000, 1201, 3000])
@pytest.mark.parametrize("kind", ["L", "16 bit"])
def test_averaging_large_images_in_blocks_first_changes_little(tmp_path, side, kind):
    pixels = texture(side, side)
    save_as(pixels, kind, tmp_path / "image.png")
    expected = Image.fromarray(pixels.astype(np.float32)).resize((28, 28), Image.Resampling.BICUBIC)

    difference = read_radiograph(tmp_path / "image.png", 28) - np.asarray(expected).clip(0, 255)

    assert abs(difference).mean() < 0.3  # rounding alone makes 0.25
    assert abs(difference).max() < 2


@pytest.mark.parametrize("kind", ["L", "RGB", "16 bit"])
def test_small_images_are_not_averaged_in_blocks(tmp_path, kind):
    """So that data sets of earlier versions stay equal, byte for byte."""
    pixels = texture(61, 83)
    save_as(pixels, kind, tmp_path / "image.png")
    grey = Image.fromarray(pixels.astype(np.float32))
    if kind == "16 bit":
        levels = pixels.astype(np.float32) * 257
        white = float(2 ** int(levels.max()).bit_length() - 1)
        grey = Image.fromarray(levels * (255.0 / white))
    resized = grey.crop((11, 0, 72, 61)).resize((28, 28), Image.Resampling.BICUBIC)
    expected = np.asarray(resized).round().clip(0, 255).astype(np.uint8)
    np.testing.assert_array_equal(read_radiograph(tmp_path / "image.png", 28), expected)
    data = (tmp_path / "image.png").read_bytes()
    np.testing.assert_array_equal(read_original_bytes(data, "image").resized(28), expected)


@pytest.mark.parametrize(("kind", "bits"), [("L", 8), ("RGB", 8), ("16 bit", 16)])
def test_original_is_the_centre_square_at_full_resolution(tmp_path, kind, bits):
    pixels = texture(61, 83)
    save_as(pixels, kind, tmp_path / "image.png")
    original = read_original(tmp_path / "image.png")
    assert (original.width, original.height, original.bits) == (83, 61, bits)
    np.testing.assert_array_equal(original.full(), pixels[:, 11:72])
    np.testing.assert_array_equal(original.resized(28), read_radiograph(tmp_path / "image.png", 28))


def test_shrinking_a_checkerboard_gives_grey(tmp_path):
    board = (np.indices((112, 112)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "image.png")
    interior = read_radiograph(tmp_path / "image.png", 28)[2:-2, 2:-2].astype(int)
    assert abs(interior - 127.5).max() < 3


def save_as(pixels: np.ndarray, kind: str, path) -> None:
    grey = Image.fromarray(pixels)
    match kind:
        case "palette":
            reverse = Image.fromarray(255 - pixels).copy()
            reverse.putpalette([level for level in range(255, -1, -1) for _ in "rgb"])
            reverse.save(path)
        case "16 bit":
            Image.fromarray(pixels.astype(np.uint16) * 257).save(path)
        case mode:
            grey.convert(mode).save(path)


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "LA", "palette", "16 bit"])
def test_lossless_encodings_of_an_image_are_equal(tmp_path, kind):
    pixels = texture(50, 70)
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    save_as(pixels, kind, tmp_path / "other.png")
    with Image.open(tmp_path / "other.png") as stored:
        assert stored.mode == {"palette": "P", "16 bit": "I;16"}.get(kind, kind)
    np.testing.assert_array_equal(
        read_radiograph(tmp_path / "other.png", 28), read_radiograph(tmp_path / "grey.png", 28)
    )


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("suffix", ["jpg", "JPEG"])
def test_jpeg_is_close_to_the_png(tmp_path, mode, suffix):
    pixels = texture(64, 64)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(pixels).convert("RGB").convert(mode).save(path, format="JPEG", quality=98)
    difference = read_radiograph(path, 28).astype(int) - read_radiograph(tmp_path / "image.png", 28)
    assert abs(difference).max() <= 3


def test_colour_becomes_luma(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(colour).save(tmp_path / "image.png")
    luma = colour @ [0.299, 0.587, 0.114]  # ITU-R BT.601
    np.testing.assert_allclose(read_radiograph(tmp_path / "image.png", 24), luma, atol=1)


def test_transparent_pixels_lie_on_black(tmp_path):
    white = np.full((16, 16, 2), 255, np.uint8)
    white[:, 4:8, 1], white[:, 8:, 1] = 51, 0
    Image.fromarray(white, "LA").save(tmp_path / "image.png")
    np.testing.assert_array_equal(
        read_radiograph(tmp_path / "image.png", 16)[0], [255] * 4 + [51] * 4 + [0] * 8
    )


def test_transparent_palette_entry_is_black(tmp_path):
    palette = Image.fromarray((np.indices((8, 8))[1] // 4).astype(np.uint8))
    palette.putpalette([200] * 3 + [90] * 3)
    palette.save(tmp_path / "image.png", transparency=0)
    np.testing.assert_array_equal(read_radiograph(tmp_path / "image.png", 8)[0], [0] * 4 + [90] * 4)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_white_of_a_16_bit_file_is_its_detectors_white(tmp_path, bits):
    white = 2**bits - 1
    levels = np.linspace(0, white, 32 * 32).round().astype(np.uint16).reshape(32, 32)
    Image.fromarray(levels).save(tmp_path / "image.png")
    np.testing.assert_allclose(read_radiograph(tmp_path / "image.png", 32), levels * (255 / white), atol=0.51)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, np.transpose),
        (6, lambda a: np.rot90(a, 1)),
        (7, lambda a: np.rot90(a, 2).T),
        (8, lambda a: np.rot90(a, -1)),
    ],
)
def test_exif_orientation_is_undone(tmp_path, orientation, stored):
    upright = texture(20, 20)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(stored(upright))).save(tmp_path / "image.png", exif=exif)
    np.testing.assert_array_equal(read_radiograph(tmp_path / "image.png", 20), upright)


def encoded(kind: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(texture(60, 60)).save(stream, kind, **options)
    return stream.getvalue()


def huge_png() -> bytes:
    """A few bytes that claim to be an image of 10^10 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"This is not an image.\n", "not a PNG, JPEG, DICOM, WebP, BMP or TIFF file"),
        (b"", "not a PNG, JPEG, DICOM, WebP, BMP or TIFF file"),
        (encoded("GIF"), "not a PNG, JPEG, DICOM, WebP, BMP or TIFF file"),
        (encoded("JPEG")[:-500], "damaged or unreadable image"),
        (encoded("PNG")[:-500], "damaged or unreadable image"),
        (encoded("JPEG")[:30], ""),
        (huge_png(), "too many pixels"),
    ],
    ids=["text", "empty", "gif", "cut jpeg", "cut png", "jpeg header", "decompression bomb"],
)
def test_other_files_are_an_error(tmp_path, content, reason):
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    with refused(f"{path}: ", reason):
        read_radiograph(path, 28)


def test_errors_about_bytes_have_the_name():
    for data in (b"", b"no image", encoded("PNG")[:-500]):
        with refused("upload 7: "):
            read_original_bytes(data, "upload 7")


def test_missing_file_and_folder_are_an_error(tmp_path):
    with refused(f"{tmp_path / 'none.png'}: no such file"):
        read_radiograph(tmp_path / "none.png", 28)
    with refused(f"{tmp_path}: a folder, not a file"):
        read_radiograph(tmp_path, 28)
    os.mkfifo(tmp_path / "fifo.png")
    with refused(f"{tmp_path / 'fifo.png'}: a FIFO or a device, not a file"):
        read_radiograph(tmp_path / "fifo.png", 28)


def test_too_many_pixels_are_an_error_before_decoding(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    path.write_bytes(encoded("PNG")[:-500])  # decoding it would give another message
    monkeypatch.setattr(radiograph, "MAX_PIXELS", 3599)
    with refused(f"{path}: 60 x 60 pixels; at most 3,599"):
        read_radiograph(path, 28)


def error_of(path) -> str | None:
    """The message of the `UserError`, None if the image is read."""
    try:
        assert read_radiograph(path, 28).shape == (28, 28)
    except UserError as error:
        return str(error)
    return None


@pytest.mark.filterwarnings("ignore")  # Pillow warns of the metadata it could not read
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_random_damage_is_a_user_error(tmp_path, kind):
    comment = PngImagePlugin.PngInfo()
    comment.add_text("a", "b" * 50, zip=True)
    whole = encoded(kind, **({"pnginfo": comment} if kind == "PNG" else {}))
    generator = np.random.default_rng(0)
    path = tmp_path / "image"
    messages = []
    for _ in range(200):
        damaged = bytearray(whole)
        for position in generator.integers(0, 400, 3):
            damaged[position] = generator.integers(0, 256)
        path.write_bytes(damaged)
        messages.append(error_of(path))
    errors = [message for message in messages if message is not None]
    assert errors
    assert all(message.startswith(f"{path}: ") and "\n" not in message for message in errors)


def test_damaged_exif_is_read_or_a_user_error(tmp_path):
    path = tmp_path / "image.jpg"
    tags = struct.pack("<HHI4s", ORIENTATION, 3, 1, b"\6\0\0\0") + struct.pack("<HHI4s", WIDTH, 2, 4, b"abc")
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + tags + struct.pack("<I", 0)
    path.write_bytes(encoded("JPEG", exif=exif))
    message = error_of(path)
    assert message is None or message.startswith(f"{path}: ")
