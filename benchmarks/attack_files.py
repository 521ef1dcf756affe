"""Small files that cost a decoder far more than they weigh; each names what of its format it abuses."""

import io
import struct
import zlib

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from benchmarks.attack_dicom import dicom_attacks
from benchmarks.attack_rasters import raster_attacks
from benchmarks.broken_images import encoded, png_chunk
from tests.builders import dicom, dicom_bytes, noise_images

MB = 10**6
ITEM = b"\xfe\xff\x00\xe0"
SMALL = noise_images(1, 64)[0]


def attack_files(side: int = 4000, scale: float = 1) -> dict[str, bytes]:
    """A file of each kind. side: of images that unpack to much. scale: of what is repeated; 1 gives files of
    2 to 32 MB."""

    def many(unit: bytes, megabytes: float) -> bytes:
        return unit * int(scale * megabytes * MB / len(unit))

    deep = int(side * (2 / 3) ** 0.5)  # the largest that is allowed where a pixel takes more memory
    jpeg, png = encoded(SMALL, "JPEG"), encoded(SMALL, "PNG")
    smooth = io.BytesIO()
    Image.new("L", (side, side), 99).save(smooth, "JPEG", progressive=True)
    large = smooth.getvalue()
    last = large.rindex(b"\xff\xda")
    scans = {count: large[:-2] + large[last:-2] * count + large[-2:] for count in (int(20_000 * scale), 90)}
    thousands, hundred = scans.values()
    return {
        "JPEG of 20,000 scans": thousands,
        "JPEG of 20,000 scans in DICOM": _jpeg_in_dicom(thousands, side),
        "JPEG of 100 scans": hundred,
        "JPEG of 100 scans in DICOM": _jpeg_in_dicom(hundred, side),
        "JPEG, empty APP1": jpeg[:2] + many(b"\xff\xe1\x00\x02", 32) + jpeg[2:],
        "JPEG, fill bytes": jpeg[:2] + many(b"\xff", 16) + jpeg[2:],
        "JPEG, Exif in many segments": jpeg[:2] + many(_segment(0xE1, b"Exif\0\0", 65_000), 48) + jpeg[2:],
        "PNG, RGBA": _flat_png(side, 6),
        "PNG, palette with alpha": _flat_png(side, 3),
        "PNG, 16 bit": _flat_png(side, 0, bits=16),
        "PNG, private chunks": png[:33] + many(png_chunk(b"prVt", b""), 32) + png[33:],
        "PNG, empty IDAT": png[:33] + many(png_chunk(b"IDAT", b""), 32) + png[33:],
        "DICOM, group 2 elements": _with_meta(many(struct.pack("<HH2sH", 2, 0x102, b"SH", 0), 2)),
        "DICOM, empty elements": _before_pixels(many(struct.pack("<HH2sH", 9, 0x1001, b"SH", 0), 32)),
        "DICOM, empty items": _before_pixels(_sequence(many(ITEM + bytes(4), 6))),
        "DICOM, empty items of unknown length": _before_pixels(_sequence(many(ITEM + bytes(4), 6), True)),
        "DICOM, elements in an item": _before_pixels(
            _sequence(ITEM + b"\xff\xff\xff\xff" + many(struct.pack("<HH2sH", 9, 0x1001, b"SH", 0), 6))
        ),
        "DICOM, window of many values": _before_pixels(_ut(0x28, 0x1050, many(b"1\\", 8))),
        "DICOM, many character sets": _before_pixels(_ut(0x08, 0x05, many(b"A\\", 8))),
        "DICOM, many fragments": _encapsulated(
            ITEM + bytes(4) + many(ITEM + bytes(4), 16), dicom(SMALL), RLELossless
        ),
        "DICOM, 16 bit": dicom_bytes(dicom(np.zeros((side, side), np.uint16), bits=12)),
        "DICOM, 16 bit inverted with window": dicom_bytes(
            dicom(np.zeros((side, side), np.uint16), "MONOCHROME1", 12, WindowCenter=20, WindowWidth=9)
        ),
        "DICOM, RGB": dicom_bytes(dicom(np.zeros((side, side, 3), np.uint8), "RGB")),
        "DICOM, YBR": dicom_bytes(dicom(np.zeros((side, side, 3), np.uint8), "YBR_FULL")),
        "DICOM, RGB 16 bit run-length": _run_length(deep, 6),
        "DICOM, run-length": _run_length(side, 1),
        "DICOM, overlapping run-length": _run_length(side, 1, overlapping=True),
        "DICOM, run-length without effect": _run_length(side, 1, padding=many(b"\x80", 16)),
        "DICOM, JPEG 2000 RGB": _jpeg2000(deep, "RGB"),
        "DICOM, JPEG 2000": _jpeg2000(side, "L"),
        **dicom_attacks(side, deep),
        **raster_attacks(side, scale),
    }


def _segment(marker: int, start: bytes, length: int) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, length + 2) + start + bytes(length - len(start))


def _flat_png(side: int, kind: int, bits: int = 8) -> bytes:
    samples = {0: 1, 3: 1, 6: 4}[kind] * bits // 8
    packer = zlib.compressobj()
    row = bytes(1 + side * samples)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">LLBBBBB", side, side, bits, kind, 0, 0, 0)
    palette = png_chunk(b"PLTE", bytes(range(6))) + png_chunk(b"tRNS", b"\x80\xff") if kind == 3 else b""
    chunks = png_chunk(b"IHDR", header) + palette + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _with_meta(elements: bytes) -> bytes:
    content = dicom_bytes(dicom(SMALL))
    return content[:144] + elements + content[144:]  # after the group's length


def _before_pixels(elements: bytes) -> bytes:
    content = dicom_bytes(dicom(SMALL))
    at = content.index(b"\xe0\x7f\x10\x00")
    return content[:at] + elements + content[at:]


def _sequence(items: bytes, unknown_length: bool = False) -> bytes:
    """The ModalityLUTSequence."""
    if unknown_length:
        end = b"\xfe\xff\xdd\xe0" + bytes(4)
        return struct.pack("<HH2sHL", 0x28, 0x3000, b"SQ", 0, 0xFFFFFFFF) + items + end
    return struct.pack("<HH2sHL", 0x28, 0x3000, b"SQ", 0, len(items)) + items


def _ut(group: int, element: int, value: bytes) -> bytes:
    return struct.pack("<HH2sHL", group, element, b"UT", 0, len(value)) + value


def _encapsulated(fragments: bytes, dataset: Dataset, syntax: UID) -> bytes:
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = fragments
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dicom_bytes(dataset)


def _jpeg_in_dicom(jpeg: bytes, side: int) -> bytes:
    dataset = dicom(np.zeros((side, side), np.uint8))
    return _encapsulated(encapsulate([jpeg]), dataset, JPEGBaseline8Bit)


def _run_length(side: int, segments: int, overlapping: bool = False, padding: bytes = b"") -> bytes:
    shape = (side, side, 3) if segments > 1 else (side, side)
    dataset = dicom(
        np.zeros(shape, np.uint16 if segments > 1 else np.uint8), "RGB" if segments > 1 else "MONOCHROME2"
    )
    if segments > 1:
        dataset.PlanarConfiguration = 0
    plane = b"\x81\x00" * (side * side // 128) + b"\x81\x00" * (side * side % 128 > 0)
    plane += padding + bytes(len(padding + plane) % 2)
    count = 15 if overlapping else segments
    offsets = [64 + (0 if overlapping else len(plane) * number) for number in range(count)]
    frame = struct.pack("<16L", count, *offsets, *[0] * (15 - count)) + plane * (
        1 if overlapping else segments
    )
    return _encapsulated(encapsulate([frame]), dataset, RLELossless)


def _jpeg2000(side: int, mode: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, "JPEG2000", no_jp2=True)
    shape = (side, side, 3) if mode == "RGB" else (side, side)
    dataset = dicom(np.zeros(shape, np.uint8), "RGB" if mode == "RGB" else "MONOCHROME2")
    return _encapsulated(encapsulate([file.getvalue()]), dataset, JPEG2000Lossless)
