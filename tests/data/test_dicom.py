"""DICOM radiographs get the grey levels of the standard; others are errors that reveal no patient."""

import hashlib
import io
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.filereader import read_partial
from pydicom.pixels import apply_modality_lut, apply_windowing, convert_color_space
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from cxr.core.errors import UserError
from cxr.data import radiograph
from cxr.data.radiograph import read_original_bytes
from tests.builders import ROOT, dicom, dicom_bytes, noise_images, refused


def shown(dataset: Dataset) -> np.ndarray:
    """The centre square as it is read, uint8."""
    return read_original_bytes(dicom_bytes(dataset), "image").full()


def ramp(low: int, high: int, dtype: type, side: int = 40) -> np.ndarray:
    """(side, side) values, evenly from low to high."""
    return np.linspace(low, high, side * side).round().astype(dtype).reshape(side, side)


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return (values.astype(np.float64) - low) * (255 / (high - low))


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("side", [60, 600])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_image_is_the_same_as_dicom_and_as_png(dtype, side):
    pixels = ramp(0, np.iinfo(dtype).max, dtype, side)[:, : side - 10]
    for size in (28, 50, 64):
        read = [
            read_original_bytes(data, "image").resized(size)
            for data in (dicom_bytes(dicom(pixels)), png(pixels))
        ]
        np.testing.assert_array_equal(*read)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_native_encodings_are_equal(syntax):
    pixels = ramp(0, 4095, np.uint16)
    dataset = dicom(pixels, bits=12)
    if not syntax.is_little_endian:
        dataset.PixelData = pixels.byteswap().tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(shown(dataset), shown(dicom(pixels, bits=12)))


@pytest.mark.parametrize(
    ("dtype", "bits", "low", "high"),
    [
        (np.uint8, 8, 0, 255),
        (np.uint16, 10, 0, 1023),
        (np.uint16, 12, 0, 4095),
        (np.uint16, 16, 0, 65535),
        (np.int16, 12, -2048, 2047),
        (np.int16, 16, -32768, 32767),
        (np.int8, 8, -128, 127),
    ],
)
def test_black_and_white_are_the_ends_of_the_range_of_the_bits(dtype, bits, low, high):
    values = ramp(
        low + (high - low) // 4, high - (high - low) // 4, dtype
    )  # the radiograph itself uses half of the range
    expected = scaled(values, low, high)
    np.testing.assert_allclose(shown(dicom(values, bits=bits)), expected, atol=0.51)
    np.testing.assert_allclose(shown(dicom(values, "MONOCHROME1", bits)), 255 - expected, atol=0.51)


def test_width_height_and_bits():
    original = read_original_bytes(dicom_bytes(dicom(ramp(0, 1023, np.uint16)[:, 5:], bits=10)), "image")
    assert (original.width, original.height, original.bits) == (35, 40, 10)


@pytest.mark.parametrize("function", [None, "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("dtype", "slope", "intercept"), [(np.uint16, 1, 0), (np.int16, 2.5, -100)])
def test_window_equals_pydicoms(function, kind, dtype, slope, intercept):
    values = ramp(0 if dtype == np.uint16 else -2048, 4095 if dtype == np.uint16 else 2047, dtype)
    dataset = dicom(values, kind, 12, RescaleSlope=slope, RescaleIntercept=intercept)
    dataset.WindowCenter, dataset.WindowWidth = [1000, 300], [801.5, 50]  # the first pair counts
    if function:
        dataset.VOILUTFunction = function
    ends = np.array([values.min(), values.max()], float) * slope + intercept
    expected = scaled(apply_windowing(apply_modality_lut(values, dataset), dataset), *ends)
    assert expected.min() < 10
    assert expected.max() > 245
    expected = 255 - expected if kind == "MONOCHROME1" else expected
    np.testing.assert_allclose(shown(dataset), expected, atol=0.52)


def test_narrowest_window_is_a_step():
    values = ramp(0, 4095, np.uint16)
    dataset = dicom(values, bits=12, WindowCenter=1000, WindowWidth=1)
    np.testing.assert_array_equal(shown(dataset), np.where(values > 999, 255, 0))


def test_rescale_without_a_window_changes_nothing():
    values = ramp(0, 4095, np.uint16)
    plain = shown(dicom(values, bits=12)).astype(int)
    halved = shown(dicom(values, bits=12, RescaleSlope=0.5, RescaleIntercept=-7))
    np.testing.assert_allclose(halved, plain, atol=1)
    turned = shown(dicom(values, bits=12, RescaleSlope=-1, RescaleIntercept=0))
    np.testing.assert_allclose(turned, 255 - plain, atol=1)


def table(entries: np.ndarray, first: int, bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries.tolist())
    return item


def test_modality_table_equals_pydicoms():
    values = ramp(0, 4095, np.uint16)
    entries = np.sqrt(np.arange(3000) / 2999) * 65535
    dataset = dicom(values, bits=12, ModalityLUTSequence=[table(entries.round().astype(int), 100, 16)])
    expected = scaled(apply_modality_lut(values, dataset), 0, 65535)
    np.testing.assert_allclose(shown(dataset), expected, atol=0.51)


@pytest.mark.parametrize(
    ("bits", "stated"), [(8, 8), (10, 10), (12, 12), (16, 16), (12, 16)], ids=lambda bits: f"{bits} bits"
)
def test_voi_table(bits, stated):
    """The last case is what Agfa's devices write: entries of 12 bits, announced as 16."""
    values = ramp(-2048, 2047, np.int16)
    entries = ((np.arange(4096) / 4095) ** 2 * (2**bits - 1)).round().astype(int)
    dataset = dicom(values, bits=12, VOILUTSequence=[table(entries, -2048, stated)])
    expected = scaled(entries[values.astype(int) + 2048], 0, 2**bits - 1)
    np.testing.assert_allclose(shown(dataset), expected, atol=0.51)
    dataset.WindowCenter, dataset.WindowWidth = 0, 100  # a window goes before a table
    assert (shown(dataset) == 0).mean() > 0.4


@pytest.mark.parametrize("packed", [np.uint8, np.uint16])
def test_voi_table_of_bytes(packed):
    values = ramp(0, 255, np.uint8)
    entries = (255 - np.arange(256)).astype(packed)
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, 0, 8])
    item.add_new("LUTData", "OW", entries.tobytes())
    np.testing.assert_array_equal(shown(dicom(values, VOILUTSequence=[item])), 255 - values)


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_becomes_luma(planar):
    colour = noise_images(3, 24).transpose(1, 2, 0)
    dataset = dicom(colour, "RGB")
    if planar:
        dataset.PlanarConfiguration = 1
        dataset.PixelData = np.ascontiguousarray(colour.transpose(2, 0, 1)).tobytes()
    np.testing.assert_allclose(shown(dataset), colour @ [0.299, 0.587, 0.114], atol=1)
    assert abs(shown(dataset).astype(int) - read_original_bytes(png(colour), "image").full()).max() == 0


def test_ybr_and_deep_colour_become_luma():
    colour = noise_images(3, 24).transpose(1, 2, 0)
    luma = colour @ [0.299, 0.587, 0.114]
    ybr = convert_color_space(colour, "RGB", "YBR_FULL")
    np.testing.assert_allclose(shown(dicom(ybr, "YBR_FULL")), luma, atol=2)
    np.testing.assert_allclose(shown(dicom(colour.astype(np.uint16) * 257, "RGB")), luma, atol=1)
    np.testing.assert_allclose(shown(dicom(colour.astype(np.uint16) * 16, "RGB", bits=12)), luma, atol=2)


def compressed(dataset: Dataset, syntax: UID, frame: bytes | None = None) -> Dataset:
    """With `frame` as its only one, or compressed by pydicom."""
    if frame is None:
        dataset.compress(syntax)
    else:
        dataset.PixelData = encapsulate([frame])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 16)])
@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_lossless_compression_changes_nothing(dtype, bits, syntax):
    pixels = ramp(0, 2**bits - 1, dtype)
    frame = None if syntax == RLELossless else encoded(pixels, "JPEG2000", irreversible=False, no_jp2=True)
    np.testing.assert_array_equal(shown(compressed(dicom(pixels), syntax, frame)), shown(dicom(pixels)))


def test_lossy_compression_is_close():
    pixels = ramp(0, 255, np.uint8)
    dataset = compressed(dicom(pixels), JPEGBaseline8Bit, encoded(pixels, "JPEG", quality=95))
    assert abs(shown(dataset).astype(int) - pixels).max() <= 4
    colour = np.repeat(pixels[:, :, None], 3, axis=2)
    dataset = dicom(colour, "RGB", PhotometricInterpretation="YBR_FULL_422")
    dataset = compressed(dataset, JPEGBaseline8Bit, encoded(colour, "JPEG", quality=95))
    assert abs(shown(dataset).astype(int) - pixels).max() <= 4


@pytest.mark.parametrize(
    "spacing",
    [
        {"PixelSpacing": [0.1, 0.2]},
        {"ImagerPixelSpacing": [0.1, 0.2]},
        {"NominalScannedPixelSpacing": [0.1, 0.2]},
        {"PixelAspectRatio": [1, 2]},
        {"PixelSpacing": [0.1, 0.2], "PixelAspectRatio": [1, 1]},
    ],
)
def test_pixels_become_square(spacing):
    square = np.zeros((60, 60), np.uint8)
    square[20:40, 10:50] = 200
    tall = np.repeat(square, 2, axis=0)  # pixels half as high as wide
    original = read_original_bytes(dicom_bytes(dicom(tall, **spacing)), "image")
    assert (original.width, original.height) == (60, 60)
    assert abs(original.full().astype(int) - square).mean() < 2
    wide = read_original_bytes(dicom_bytes(dicom(tall.T, PixelSpacing=[0.2, 0.1])), "image")
    np.testing.assert_array_equal(wide.full(), original.full().T)


def test_spacing_that_is_square_but_for_rounding_changes_nothing():
    pixels = ramp(0, 255, np.uint8)
    np.testing.assert_array_equal(shown(dicom(pixels, PixelSpacing=[0.143, 0.1431])), pixels)


def test_absurd_spacing_takes_no_memory():
    original = read_original_bytes(
        dicom_bytes(dicom(ramp(0, 255, np.uint8), PixelSpacing=[1e-9, 1e9])), "image"
    )
    assert (original.width, original.height) == (40, 1)


PIXELS = ramp(0, 255, np.uint8)


def of_syntax(syntax: str) -> Dataset:
    return compressed(dicom(PIXELS), UID(syntax), b"\0" * 100)


@pytest.mark.parametrize(
    ("dataset", "reason"),
    [
        (dicom(PIXELS, Modality="SR"), "modality SR, not a radiograph"),
        (dicom(PIXELS, Modality="CT"), "modality CT, not a radiograph"),
        (dicom(PIXELS, PixelData=None), "a DICOM file without an image"),
        (dicom(PIXELS, Rows=None, Columns=None), "a DICOM file without an image"),
        (dicom(PIXELS, NumberOfFrames=12), "12 frames; a radiograph has one"),
        (dicom(PIXELS, PresentationIntentType="FOR PROCESSING"), "raw detector values"),
        (dicom(PIXELS, PhotometricInterpretation="PALETTE COLOR"), "PALETTE COLOR with 1 samples"),
        (dicom(PIXELS, SamplesPerPixel=3), "MONOCHROME2 with 3 samples"),
        (dicom(PIXELS, BitsAllocated=32), "8 bits in 32"),
        (dicom(PIXELS, BitsStored=9), "9 bits in 8"),
        (dicom(PIXELS, WindowCenter=10, WindowWidth=0), "WindowWidth is 0, too small"),
        (dicom(PIXELS, WindowCenter=10, WindowWidth=9, VOILUTFunction="X"), "VOILUTFunction is none of"),
        (dicom(PIXELS, RescaleSlope=0, RescaleIntercept=0), "RescaleSlope is 0"),
        (dicom(PIXELS, RescaleSlope="1e300", RescaleIntercept=0), "not finite"),
        (dicom(PIXELS, VOILUTSequence=[table(np.zeros(256, int), 0, 8)]), "damaged or incomplete DICOM file"),
        (dicom(PIXELS, PixelSpacing=[0, 1]), "PixelSpacing is 0 x 1"),
        (dicom(PIXELS, PixelData=b"\0" * 1598), "damaged or incomplete DICOM file"),
        (of_syntax(JPEGLosslessSV1), f"cannot be decoded ({JPEGLosslessSV1.name}, 8 bits): damaged"),
        (of_syntax("1.2.840.10008.1.2.4.100"), "transfer syntax MPEG2 Main Profile / Main Level"),
        (of_syntax(JPEG2000), "cannot be decoded (JPEG 2000 Image Compression, 8 bits): damaged"),
        (of_syntax(RLELossless), "cannot be decoded (RLE Lossless, 8 bits): damaged"),
    ],
)
def test_what_cannot_be_displayed_is_an_error(dataset, reason):
    with refused("some image.dcm: ", reason):
        read_original_bytes(dicom_bytes(dataset), "some image.dcm")


def test_an_error_quotes_no_value_of_the_file():
    """In a damaged file any element may hold what stood in another one."""
    whole = dicom_bytes(dicom(PIXELS, RescaleSlope="123456", RescaleIntercept=0))
    assert whole.count(b"123456") == 1
    with pytest.raises(UserError) as caught:
        read_original_bytes(whole.replace(b"123456", b"Secret"), "image")
    assert str(caught.value) == "image: damaged or incomplete DICOM file (ValueError)"


def test_unknown_transfer_syntax_is_an_error():
    data = dicom_bytes(dicom(PIXELS)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.77", 1)
    with refused("image: its transfer syntax 1.2.840.10008.1.2.77", "cannot be read here"):
        read_original_bytes(data, "image")


def test_too_many_pixels_are_an_error_before_decoding(monkeypatch):
    monkeypatch.setattr(radiograph, "MAX_PIXELS", 1599)
    with refused("image: 40 x 40 pixels; at most 1,599"):
        read_original_bytes(dicom_bytes(dicom(PIXELS, PixelData=b"\0\0")), "image")
    monkeypatch.undo()
    huge = dicom(PIXELS, Rows=65535, Columns=65535, PixelData=b"\0\0")
    with refused("image: 65535 x 65535 pixels; at most 100,000,000"):
        read_original_bytes(dicom_bytes(huge), "image")


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000])
def test_a_frame_larger_than_announced_is_an_error(syntax):
    frame = encoded(np.zeros((400, 400), np.uint8), "JPEG" if syntax == JPEGBaseline8Bit else "JPEG2000")
    with refused("image: its pixels cannot be decoded"):
        read_original_bytes(dicom_bytes(compressed(dicom(PIXELS), syntax, frame)), "image")


def test_a_run_length_bomb_is_an_error():
    bomb = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\0" * 100_000  # unpacks to 12.8 million bytes
    with refused("image: its pixels cannot be decoded (RLE Lossless): more pixels than its header states"):
        read_original_bytes(dicom_bytes(compressed(dicom(PIXELS), RLELossless, bomb)), "image")


def test_other_files_with_the_same_beginning_are_an_error():
    with refused("image: damaged or incomplete DICOM file"):
        read_original_bytes(b"\0" * 128 + b"DICM", "image")
    with refused("image: damaged or incomplete DICOM file"):
        read_original_bytes(b"\0" * 128 + b"DICM" + b"nothing of the kind" * 9, "image")
    with refused("image: not a PNG, JPEG, DICOM, WebP, BMP or TIFF file"):
        read_original_bytes(b"\0" * 128 + b"DIC", "image")


def variants() -> dict[str, bytes]:
    item = table(np.arange(256), 0, 8)
    return {
        "native": dicom_bytes(dicom(PIXELS, WindowCenter=100, WindowWidth=90, PixelSpacing=[0.1, 0.2])),
        "tables": dicom_bytes(dicom(PIXELS, ModalityLUTSequence=[item], VOILUTSequence=[item])),
        "rle": dicom_bytes(compressed(dicom(PIXELS), RLELossless)),
        "jpeg2000": dicom_bytes(
            compressed(dicom(PIXELS), JPEG2000, encoded(PIXELS, "JPEG2000", no_jp2=True))
        ),
        "jpeg": dicom_bytes(compressed(dicom(PIXELS), JPEGBaseline8Bit, encoded(PIXELS, "JPEG"))),
    }


def test_pixels_are_those_of_earlier_versions():
    """Hashes as they were before other transfer syntaxes were added (commit c0984d1)."""
    deep = ramp(0, 4095, np.uint16)
    signed = ramp(-2048, 2047, np.int16)
    colour = np.stack(noise_images(3, 24), axis=2)
    item = table(np.arange(4096)[::-1], 0, 12)
    read = {
        "8 bits": dicom(PIXELS),
        "inverted, window": dicom(deep, "MONOCHROME1", 12, WindowCenter=1000, WindowWidth=801.5),
        "signed, rescaled": dicom(signed, bits=12, RescaleSlope=2.5, RescaleIntercept=-100),
        "tables": dicom(deep, bits=12, ModalityLUTSequence=[item], VOILUTSequence=[item]),
        "colour": dicom(colour, "RGB"),
        "luminance": dicom(convert_color_space(colour, "RGB", "YBR_FULL"), "YBR_FULL"),
        "oblong": dicom(deep, bits=12, PixelSpacing=[0.1, 0.2]),
        "run-length": compressed(dicom(deep, bits=12), RLELossless),
        "JPEG 2000": compressed(
            dicom(PIXELS), JPEG2000Lossless, encoded(PIXELS, "JPEG2000", irreversible=False, no_jp2=True)
        ),
    }
    hashes = {
        name: hashlib.sha256(shown(dataset).tobytes()).hexdigest()[:8] for name, dataset in read.items()
    }
    assert hashes == {
        "8 bits": "86dc5007",
        "inverted, window": "7f0fb78f",
        "signed, rescaled": "4e406a3f",
        "tables": "4e406a3f",
        "colour": "64460c23",
        "luminance": "64460c23",
        "oblong": "2665f3d9",
        "run-length": "4e406a3f",
        "JPEG 2000": "86dc5007",
    }


READ_ALL = """
import sys, pathlib
from cxr.core.errors import UserError
from cxr.data.radiograph import read_radiograph
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        assert read_radiograph(path, 28).shape == (28, 28)
    except UserError as error:
        print(error)
"""


def test_random_damage_is_a_user_error_without_patient_data(tmp_path):
    """Changed bytes and cuts: a radiograph or an error of one line, no warning on stderr, no name."""
    generator = np.random.default_rng(0)
    for name, whole in variants().items():
        assert b"Secret^Name" in whole
        for number in range(200):
            damaged = bytearray(whole)
            for position in generator.integers(132, len(whole), 4):
                damaged[position] = generator.integers(0, 256)
            if number % 3 == 0:
                del damaged[generator.integers(132, len(whole)) :]
            (tmp_path / f"{name} {number:03}").write_bytes(damaged)
    # A process of its own, since pytest captures warnings and log messages.
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert 300 < len(lines) < 1000
    assert all(line.startswith(f"{tmp_path}/") and ": " in line for line in lines)
    assert not any(secret in done.stdout for secret in ("Secret", "SECRET", "1901"))


def test_nothing_of_the_patient_is_kept(monkeypatch):
    kept = []

    def watch(*arguments: object, **options: object) -> Dataset:
        kept.append(read_partial(*arguments, **options))
        return kept[-1]

    monkeypatch.setattr("cxr.data.dicom.read_partial", watch)
    read_original_bytes(dicom_bytes(dicom(PIXELS)), "image")
    assert kept
    for dataset in kept:
        assert not any(element.keyword.startswith(("Patient", "SOP")) for element in dataset)


def test_pydicom_is_imported_only_for_dicom_files(tmp_path):
    (tmp_path / "image.png").write_bytes(png(PIXELS))
    (tmp_path / "image.dcm").write_bytes(dicom_bytes(dicom(PIXELS)))
    check = (
        "import sys; from cxr.data.radiograph import read_radiograph; "
        f"read_radiograph({str(tmp_path / 'image.png')!r}, 28); assert 'pydicom' not in sys.modules; "
        f"read_radiograph({str(tmp_path / 'image.dcm')!r}, 28); assert 'pydicom' in sys.modules; "
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
