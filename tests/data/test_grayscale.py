"""Padding, polarity and unused bits of DICOM radiographs; windows and tables are in test_dicom.py."""

import io

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ImplicitVRLittleEndian

from benchmarks.dicom_decoders import FOLDER
from benchmarks.dicom_files import waves
from cxr.data.radiograph import read_original_bytes
from tests.builders import dicom, dicom_bytes, refused

PIXELS = waves(np.uint16, 12) // 2 + 1000  # 1000 to 3047


def shown(dataset: Dataset) -> np.ndarray:
    """(side, side) float, 0 black to 255."""
    return np.asarray(read_original_bytes(dicom_bytes(dataset), "image").square, np.float64)


def padded(*values: int, pixels: np.ndarray = PIXELS) -> tuple[np.ndarray, np.ndarray]:
    """With the first rows, (len(values),), and the mask of these."""
    pixels, mask = pixels.copy(), np.zeros(pixels.shape, bool)
    for row, value in enumerate(values):
        pixels[row], mask[row] = value, True
    return pixels, mask


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("values", "elements"),
    [
        ((0,), {"PixelPaddingValue": 0}),
        ((4095,), {"PixelPaddingValue": 4095}),
        ((0, 3, 7), {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 7}),
        ((4000, 4095), {"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 4000}),
    ],
)
def test_padding_is_black_whatever_the_polarity_and_the_window(
    kind: str, values: tuple[int, ...], elements: dict[str, int]
) -> None:
    pixels, mask = padded(*values)
    for grey in (
        {},
        {"WindowCenter": 2000, "WindowWidth": 2100},
        {"RescaleSlope": -1, "RescaleIntercept": 9},
    ):
        grey = shown(dicom(pixels, kind, 12, **elements, **grey)), shown(dicom(pixels, kind, 12, **grey))
        assert (grey[0][mask] == 0).all()
        np.testing.assert_array_equal(grey[0][~mask], grey[1][~mask])
        assert grey[0][~mask].min() > 0


@pytest.mark.parametrize("stated", [-2000, 63536])
@pytest.mark.parametrize("implicit", [False, True])
def test_padding_of_signed_values_is_found_however_its_sign_is_stated(stated: int, implicit: bool) -> None:
    pixels, mask = padded(-2000, pixels=waves(np.int16, 12) // 2)
    dataset = dicom(pixels, bits=12)
    dataset.add_new("PixelPaddingValue", "SS" if stated < 0 else "US", stated)
    if implicit:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    grey = shown(dataset)
    assert (grey[mask] == 0).all()
    assert (grey[~mask] > 0).all()


def test_empty_padding_is_none_and_a_damaged_one_an_error() -> None:
    dataset = dicom(PIXELS, bits=12)
    plain = shown(dataset)
    dataset.add_new("PixelPaddingValue", "US", None)
    np.testing.assert_array_equal(shown(dataset), plain)
    dataset.add_new("PixelPaddingValue", "US", [1, 2])
    with refused("image: damaged or incomplete DICOM file"):
        shown(dataset)


@pytest.mark.parametrize("shape", [None, "", "IDENTITY", "INVERSE"])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_a_radiograph_is_inverted_once(kind: str, shape: str | None) -> None:
    plain = shown(dicom(PIXELS, bits=12))
    dataset = dicom(PIXELS, kind, 12, **({} if shape is None else {"PresentationLUTShape": shape}))
    inverse = kind == "MONOCHROME1" or shape == "INVERSE"
    np.testing.assert_allclose(shown(dataset), 255 - plain if inverse else plain, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_unused_bits_do_not_count(dtype: type) -> None:
    """Where older devices stored overlays."""
    pixels = waves(dtype, 12)
    plain = dicom(pixels, bits=12)
    expected = shown(plain)
    overlay = (0xA000 * (np.arange(48) % 2)).astype(np.uint16)
    plain.PixelData = (pixels.view(np.uint16) & 0xFFF | overlay).tobytes()
    np.testing.assert_array_equal(shown(plain), expected)


@pytest.mark.parametrize("number", [6154, 6247, 6278])
def test_radiographs_of_pydicom_have_its_grey_levels(number: int) -> None:
    """Computed radiographs of 12 bits, MONOCHROME1, with a window."""
    (path,) = FOLDER.glob(f"dicomdirtests/*/CR*/{number}")
    dataset = dcmread(path)
    assert (dataset.Modality, dataset.PhotometricInterpretation) == ("CR", "MONOCHROME1")
    window = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    stream = io.BytesIO()
    dataset.save_as(stream)
    read = np.asarray(read_original_bytes(stream.getvalue(), "image").square, np.float64)
    low, high = apply_modality_lut(np.array([0, 2**12 - 1]), dataset)  # between which pydicom's windows end
    np.testing.assert_allclose(read, 255 - (window - low) * (255 / (high - low)), atol=0.01)
