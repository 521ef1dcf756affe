"""No small file costs the reader more than seconds or 16 bytes for each pixel that is allowed."""

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.attack_files import attack_files
from benchmarks.broken_images import jpeg_of_scans, png_chunk
from benchmarks.reading_cost import Cost, costs
from cxr.data import metered
from cxr.data.radiograph import read_original_bytes
from tests.builders import noise_images, refused

SIDE = 2500  # smaller images would measure the 50 MB of a block of rows in float64, too
FILES = attack_files(SIDE)
READ = ("PNG, ", "DICOM, 16 bit", "DICOM, RGB", "DICOM, YBR", "DICOM, run-length", "DICOM, JPEG 2000")
READ += ("DICOM, deflated RGB", "DICOM, JPEG Lossless 16", "DICOM, JPEG Lossless RGB", "DICOM, JPEG-LS 16")
READ += (
    "DICOM, JPEG-LS RGB",
    "WebP, loss",
    "BMP, RGBA",
    "TIFF, RGBA",
    "TIFF, 16 bit",
    "TIFF, CMYK",
    "TIFF, uncompressed",
)


@pytest.fixture(scope="module")
def measured() -> dict[str, Cost]:
    return {cost.name: cost for cost in costs(FILES, SIDE * SIDE)}


@pytest.mark.parametrize("name", FILES)
def test_a_small_file_costs_little(measured: dict[str, Cost], name: str) -> None:
    """Memory: 16 bytes a pixel of the allowed maximum and twice the file; see docs/security.md."""
    cost = measured[name]
    assert cost.seconds < 3
    assert cost.memory < 16 * SIDE**2 + 2 * len(FILES[name])
    assert "\n" not in cost.said


def test_what_is_large_but_harmless_is_read(measured: dict[str, Cost]) -> None:
    refused_for_size = ("chunks", "IDAT", "million")
    large = [n for n in FILES if n.startswith(READ) and not any(word in n for word in refused_for_size)]
    assert len(large) == 24
    assert [measured[name].said for name in large] == ["read"] * len(large)


def test_scans_are_limited_in_jpeg_and_in_dicom(measured: dict[str, Cost]) -> None:
    for name in FILES:
        if "scans" in name:
            assert f"a JPEG of more than {metered.MAX_SCANS} scans" in measured[name].said
    assert read_original_bytes(jpeg_of_scans(20), "image").width == 64


def test_many_chunks_are_read_and_more_are_not() -> None:
    file = io.BytesIO()
    image = noise_images(1, 64)[0]
    Image.fromarray(image).save(file, "PNG")
    content = file.getvalue()
    several = content[:33] + png_chunk(b"prVt", b"") * 10_000 + content[33:]
    np.testing.assert_array_equal(read_original_bytes(several, "image").full(), image)
    with refused("image: its header has more parts"):
        read_original_bytes(content[:33] + png_chunk(b"prVt", b"") * 50_000 + content[33:], "image")


def test_a_metered_file_counts_reads_bytes_and_values() -> None:
    file = metered.Metered(b"a\\b" * 100, reads=50, header=60, values=20)
    assert file.read(60) == b"a\\b" * 20
    with refused("more parts, bytes or values"):
        file.read(1)
    file = metered.Metered(b"a\\b" * 100, reads=50, header=60, values=19)
    with refused("more parts, bytes or values"):
        file.read(60)
    file = metered.Metered(b"a\\b" * 100, reads=3, header=6, values=2)
    file.header_ended()
    assert len(file.read(200) + file.read(100) + file.read()) == 300
    with refused("more parts, bytes or values"):
        file.read()
