"""The attack files of WebP, BMP and TIFF: small ones that cost a decoder far more than they weigh."""

import io
import struct
from typing import Any

import numpy as np
from PIL import Image

from tests.builders import noise_images

MB = 10**6
LONG, UNDEFINED = 4, 7  # types of a tag
Tag = tuple[int, int, int, int]  # number, type, count, value or offset


def raster_attacks(side: int, scale: float) -> dict[str, bytes]:
    """side, scale: as in `benchmarks.attack_files.attack_files`."""
    deep = int(side * (2 / 3) ** 0.5)  # the largest that is allowed in WebP
    block = bytes(int(scale * 6 * MB))
    return {
        "WebP, lossless RGBA": _saved("RGBA", deep, "WEBP", lossless=True, exact=True),
        "WebP, lossy": _saved("RGB", deep, "WEBP"),
        "WebP, canvas of 268 million pixels": _webp(b"VP8X", bytes(4) + b"\xfe\x3f\x00\xfe\x3f\x00"),
        "WebP, lossless of 268 million pixels": _webp(b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(9)),
        "WebP, private chunks": _webp(
            b"VP8X", bytes(4) + b"\x3f\x00\x00\x3f\x00\x00", b"prVt\0\0\0\0" * int(scale * 32 * MB / 8)
        ),
        "BMP, RGBA": _saved("RGBA", side, "BMP"),
        "BMP, run-length": _run_length_bmp(side),
        "BMP, large header": b"BM" + bytes(12) + (32 * MB).to_bytes(4, "little") + block * 4,
        "TIFF, RGBA": _saved("RGBA", side, "TIFF", compression="tiff_lzw"),
        "TIFF, 16 bit": _saved("I;16", side, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF, CMYK": _saved("CMYK", side, "TIFF", compression="packbits"),
        "TIFF, uncompressed": _saved("RGB", side, "TIFF"),
        "TIFF, many strips": _strips(int(scale * 500_000)),
        "TIFF, 60,000 strips": _strips(60_000),
        "TIFF, large tags": _tiff([(40_000 + n, UNDEFINED, len(block), 0) for n in range(20_000)], block),
        "TIFF, large tags in Exif": _exif(block),
        "TIFF, tile of 4,000 million pixels": _tiff([(322, LONG, 1, 2**16), (323, LONG, 1, 2**16)], b""),
    }


def _saved(mode: str, side: int, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(np.zeros((side, side), np.uint16)) if mode == "I;16" else None
    (image or Image.new(mode, (side, side))).save(file, kind, **options)
    return file.getvalue()


def _webp(kind: bytes, header: bytes, chunks: bytes = b"") -> bytes:
    body = b"WEBP" + kind + len(header).to_bytes(4, "little") + header + chunks
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _run_length_bmp(side: int) -> bytes:
    """Pairs that end the line and write nothing, or a pixel each: a loop in Python."""
    data = b"\x01\x00" * (side * side)
    palette = bytes(1024)
    header = struct.pack("<LLLHHLLLLLL", 40, side, side, 1, 8, 1, len(data), 0, 0, 256, 0)
    return struct.pack("<2sLLL", b"BM", 54 + 1024 + len(data), 0, 54 + 1024) + header + palette + data


def _tiff(tags: list[Tag], data: bytes, pixels: int = 64) -> bytes:
    """Grey, uncompressed, `pixels` x `pixels`. The value 0 of a tag stands for the offset of `data`."""
    values = {256: pixels, 257: pixels, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: pixels, 279: pixels**2}
    given = {tag[0] for tag in tags}
    entries = sorted(
        [(number, LONG, 1, value) for number, value in values.items() if number not in given] + tags
    )
    start = 8 + pixels**2
    offset = start + 2 + 12 * len(entries) + 4
    image = noise_images(1, pixels)[0].tobytes()
    table = b"".join(
        struct.pack("<HHLL", number, kind, count, value if value or count == 1 else offset)
        for number, kind, count, value in entries
    )
    return (
        b"II*\0"
        + struct.pack("<L", start)
        + image
        + struct.pack("<H", len(entries))
        + table
        + bytes(4)
        + data
    )


def _strips(count: int) -> bytes:
    """`count` strips of one row, each of which is a read of 64 KiB."""
    offsets = struct.pack("<L", 8) * count
    return _tiff([(273, LONG, count, 0), (278, LONG, 1, 1)], offsets)


def _exif(block: bytes) -> bytes:
    """Three sub-directories whose tags all have the same value, of megabytes."""
    inner = struct.pack("<H", 3_000)
    whole = _tiff([(number, LONG, 1, 1) for number in (34_665, 34_853)], b"")
    at = len(whole)
    value = at + 2 + 12 * 3_000 + 4
    inner += b"".join(
        struct.pack("<HHLL", 40_000 + n, UNDEFINED, len(block), value) for n in range(3_000)
    ) + bytes(4)
    pointed = _tiff([(number, LONG, 1, at) for number in (34_665, 34_853)], b"")
    return pointed + inner + block
