"""Readings against a few lines of Pillow, and `medmnist` against the published images themselves."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.data.provenance import SOURCES
from cxr.data.radiograph import read_radiograph
from tests.builders import ROOT, dicom, dicom_bytes, noise_images

SHARED = ROOT.parent / "shared"
# Radiographs of the original set at full size, and the rows of PneumoniaMNIST's test split made of them.
PUBLISHED = {
    "normal_NORMAL2-IM-0348-0001.jpeg": 177,
    "pneumonia_person100_bacteria_478.jpeg": 308,
    "pneumonia_person118_bacteria_560.jpeg": 288,
    "pneumonia_person1628_virus_2822.jpeg": 543,
    "pneumonia_person70_virus_130.jpeg": 612,
    "pneumonia_person78_virus_140.jpeg": 101,
    "pneumonia_person83_bacteria_409.jpeg": 213,
}


def as_published(path: Path, size: int) -> np.ndarray:
    """The steps of the reading, written down a second time."""
    grey = Image.open(path).convert("L")
    width, height = grey.size
    side = min(width, height)
    left, top = round((width - side) / 2), round((height - side) / 2)
    square = grey.crop((left, top, left + side, top + side))
    file = io.BytesIO()
    square.resize((size, size), Image.Resampling.BILINEAR).save(file, format="JPEG", quality=75)
    return np.asarray(Image.open(io.BytesIO(file.getvalue())))


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_images_are_reproduced_byte_for_byte(name):
    archive = SHARED / "mirror/pneumoniamnist.npz"
    path = SHARED / "data/films" / name
    if not (archive.is_file() and path.is_file()):
        pytest.skip("neither PneumoniaMNIST nor its original radiographs are here")
    with np.load(archive) as arrays:
        published = arrays["test_images"][PUBLISHED[name]]
    np.testing.assert_array_equal(read_radiograph(path, 28, SOURCES["pneumoniamnist"].reading), published)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("shape", [(40, 57), (57, 40), (41, 58), (58, 43), (45, 45), (300, 401)])
def test_medmnist_is_what_a_few_lines_of_pillow_do(tmp_path, shape, mode):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(pixels).convert(mode).save(path)
    for size in (16, 28):
        np.testing.assert_array_equal(read_radiograph(path, size, "medmnist"), as_published(path, size))


def test_readings_differ_and_plain_loses_nothing_at_full_size(tmp_path):
    (pixels,) = noise_images(1, 28)
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    np.testing.assert_array_equal(read_radiograph(path, 28, "plain"), pixels)
    assert np.abs(read_radiograph(path, 28, "medmnist").astype(int) - pixels).mean() > 4  # JPEG


def test_a_dicom_file_is_read_as_the_png_of_its_grey_levels(tmp_path):
    (pixels,) = noise_images(1, 50)
    (tmp_path / "image.dcm").write_bytes(dicom_bytes(dicom(pixels)))
    Image.fromarray(pixels).save(tmp_path / "image.png")
    read = [read_radiograph(tmp_path / f"image.{suffix}", 28, "medmnist") for suffix in ("dcm", "png")]
    np.testing.assert_array_equal(*read)


def test_sixteen_bits_are_rounded_to_eight_first(tmp_path):
    levels = np.random.default_rng(1).integers(0, 2**16, (60, 60)).astype(np.uint16)
    levels[0, 0] = 2**16 - 1
    Image.fromarray(levels).save(tmp_path / "deep.png")
    Image.fromarray(np.rint(levels.astype(np.float32) * (255 / 65535)).astype(np.uint8)).save(
        tmp_path / "8.png"
    )
    read = [read_radiograph(tmp_path / name, 28, "medmnist") for name in ("deep.png", "8.png")]
    np.testing.assert_array_equal(*read)
