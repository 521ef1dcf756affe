"""Intact and damaged image files for tests: all formats, random mutations, decompression bombs."""

import io
import zlib

import numpy as np
from PIL import Image

from tests.builders import dicom, dicom_bytes, noise_images


def encoded(image: np.ndarray, kind: str) -> bytes:
    """A file of `kind` DICOM, or one of Pillow's such as PNG; WebP without loss. image: (H, W) uint8."""
    if kind == "DICOM":
        return dicom_bytes(dicom(image))
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return file.getvalue()


def originals() -> list[bytes]:
    """Intact files of 48 x 48 pixels: modes, bit depths, progressive, animated, rotated by Exif, DICOM,
    WebP, BMP, TIFF."""
    image = noise_images(1, 48)[0]
    smooth = np.linspace(0, 255, 48 * 48).reshape(48, 48).astype(np.uint8)
    files = [encoded(smooth, "PNG"), encoded(image, "JPEG"), dicom_bytes(dicom(smooth)), jpeg_of_scans(3)]
    for mode, kind in (("P", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG"), ("1", "PNG")):
        file = io.BytesIO()
        Image.fromarray(smooth).convert("RGB").convert(mode).save(file, kind)
        files.append(file.getvalue())
    file = io.BytesIO()
    Image.fromarray(smooth.astype(np.uint16) * 257).save(file, "PNG")
    animated = io.BytesIO()
    frames = [Image.fromarray(frame) for frame in noise_images(3, 48)]
    frames[0].save(animated, "PNG", save_all=True, append_images=frames[1:])
    rotated = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(rotated, "JPEG", exif=exif)
    files += [encoded(smooth, kind) for kind in ("WEBP", "BMP", "TIFF")]
    lossy, packed = io.BytesIO(), io.BytesIO()
    Image.fromarray(image).save(lossy, "WEBP")
    Image.fromarray(smooth.astype(np.uint16) * 257).save(packed, "TIFF", compression="tiff_lzw")
    files += [lossy.getvalue(), packed.getvalue()]
    return [*files, file.getvalue(), animated.getvalue(), rotated.getvalue()]


def mutated(content: bytes, generator: np.random.Generator) -> bytes:
    """`content` truncated, or with flipped bits, a damaged header, replaced or inserted bytes."""
    data = bytearray(content)
    match generator.integers(5):
        case 0:
            return bytes(data[: generator.integers(len(data))])
        case 1:
            for position in generator.integers(0, len(data), generator.integers(1, 20)):
                data[position] ^= 1 << generator.integers(8)
        case 2:  # the header
            for position in generator.integers(0, min(400, len(data)), generator.integers(1, 8)):
                data[position] = generator.integers(256)
        case 3:
            start, length = generator.integers(len(data)), generator.integers(1, 200)
            data[start : start + length] = generator.bytes(int(generator.integers(0, 200)))
        case 4:
            start = generator.integers(len(data))
            data[start:start] = b"\xff" * generator.integers(1, 50)
    return bytes(data)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def png_bomb(side: int) -> bytes:
    """A PNG whose header states `side` x `side` pixels, with almost no data."""
    header = side.to_bytes(4) * 2 + bytes([8, 0, 0, 0, 0])
    body = (
        png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_of_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated `count` times."""
    file = io.BytesIO()
    Image.fromarray(noise_images(1, 64)[0]).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * count + content[-2:]
