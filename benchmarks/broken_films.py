"""Radiographs in every format, and what breaks a careless reader of them."""

import io
import zlib

import numpy as np
from PIL import Image

from tests.builders import dicom, dicom_bytes, noise_images


def encoded(image: np.ndarray, kind: str) -> bytes:
    if kind == "DICOM":
        return dicom_bytes(dicom(image))
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def originals() -> list[bytes]:
    image = noise_images(1, 48)[0]
    smooth = np.linspace(0, 255, 48 * 48).reshape(48, 48).astype(np.uint8)
    found = [encoded(smooth, "PNG"), encoded(image, "JPEG"), dicom_bytes(dicom(smooth)), jpeg_of_scans(3)]
    for mode, kind in (("P", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG"), ("1", "PNG")):
        file = io.BytesIO()
        Image.fromarray(smooth).convert("RGB").convert(mode).save(file, kind)
        found.append(file.getvalue())
    file = io.BytesIO()
    Image.fromarray(smooth.astype(np.uint16) * 257).save(file, "PNG")
    animated = io.BytesIO()
    frames = [Image.fromarray(each) for each in noise_images(3, 48)]
    frames[0].save(animated, "PNG", save_all=True, append_images=frames[1:])
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(turned, "JPEG", exif=exif)
    return [*found, file.getvalue(), animated.getvalue(), turned.getvalue()]


def mutated(content: bytes, generator: np.random.Generator) -> bytes:
    data = bytearray(content)
    match generator.integers(5):
        case 0:
            return bytes(data[: generator.integers(len(data))])
        case 1:
            for place in generator.integers(0, len(data), generator.integers(1, 20)):
                data[place] ^= 1 << generator.integers(8)
        case 2:  # the header
            for place in generator.integers(0, min(400, len(data)), generator.integers(1, 8)):
                data[place] = generator.integers(256)
        case 3:
            start, length = generator.integers(len(data)), generator.integers(1, 200)
            data[start : start + length] = generator.bytes(generator.integers(0, 200))
        case 4:
            start = generator.integers(len(data))
            data[start:start] = b"\xff" * generator.integers(1, 50)
    return bytes(data)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


def png_bomb(side: int) -> bytes:
    """A PNG whose header states `side` x `side` pixels, of which next to nothing follows."""
    header = side.to_bytes(4) * 2 + bytes([8, 0, 0, 0, 0])
    body = (
        png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + body


def jpeg_of_scans(count: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise_images(1, 64)[0]).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * count + content[-2:]
