"""The same radiograph in every transfer syntax of DICOM has the same pixels, or is one clear error."""

import hashlib
import io
import re
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from benchmarks.dicom_decoders import FOLDER
from benchmarks.dicom_files import LOSSLESS, NEAR, in_syntax, jpeg_of_precision, waves
from benchmarks.dicom_fuzz import PIXELS_ALLOWED, SYNTAXES, damaged, main
from cxr.core.errors import PixelCountError, UserError
from cxr.data import dicom_jpeg, dicom_pixels
from cxr.data.dicom_jpeg import frame_header
from cxr.data.dicom_pixels import decode_pixels
from cxr.data.radiograph import read_original_bytes
from tests.builders import ROOT, dicom, dicom_bytes, noise_images, refused

CODECS = (JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEGLSNearLossless)  # of the extra dicom


WAVES = waves(np.uint16, 12)


def shown(content: bytes) -> np.ndarray:
    """(side, side) uint8."""
    return read_original_bytes(content, "image").full()


def fingerprint(content: bytes) -> str:
    return hashlib.sha256(shown(content).tobytes()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        *((np.uint8, 8), (np.int8, 8), (np.uint16, 10), (np.uint16, 12), (np.uint16, 14), (np.uint16, 16)),
        *((np.int16, 12), (np.int16, 16)),
    ],
)
def test_lossless_syntaxes_have_the_same_pixels(dtype: type, bits: int) -> None:
    pixels = waves(dtype, bits)
    low, high = int(pixels.min()), int(pixels.max())
    assert high - low > 0.99 * (2**bits - 1)
    first = in_syntax(pixels, LOSSLESS[0], bits)
    np.testing.assert_allclose(shown(first), (pixels.astype(float) - low) * (255 / (high - low)), atol=1)
    assert {fingerprint(in_syntax(pixels, syntax, bits)) for syntax in LOSSLESS} == {fingerprint(first)}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless_colours_are_the_same(dtype: type) -> None:
    colour = np.stack(noise_images(3, 24), axis=2).astype(dtype) * dtype(np.iinfo(dtype).max // 255)
    first = fingerprint(in_syntax(colour, LOSSLESS[0]))
    for syntax in LOSSLESS[1:] if dtype == np.uint8 else LOSSLESS[1:-1]:  # Pillow has no JPEG 2000 of 48 bits
        assert fingerprint(in_syntax(colour, syntax)) == first, syntax


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_the_documented_pixels(syntax: UID) -> None:
    """docs/dicom.md has a hash for each lossless syntax, and the largest difference of each other one."""
    rows = re.findall(rf"^\| [^|]*\({re.escape(syntax)}\).*$", (ROOT / "docs/dicom.md").read_text(), re.M)
    assert len(rows) == 1
    pixels, bits = (waves(np.uint8, 8), 8) if syntax == JPEGBaseline8Bit else (WAVES, 12)
    content = in_syntax(pixels, syntax, bits)
    if syntax in LOSSLESS:
        assert f"`{fingerprint(content)}`" in rows[0]
        return
    stated = float(re.findall(r"at most ([0-9.]+)", rows[0])[0])
    plain = np.asarray(read_original_bytes(in_syntax(pixels, ExplicitVRLittleEndian, bits), "image").square)
    largest = np.abs(np.asarray(read_original_bytes(content, "image").square, float) - plain).max()
    assert 0 < largest <= stated


def test_near_lossless_values_do_not_wrap_around() -> None:
    """Where the compressed image has more bits than the file, the error of a white pixel may exceed these."""
    white = np.full((24, 24), 4095, np.uint16)
    white[::3, ::2] -= 3
    differences = shown(in_syntax(white, JPEGLSNearLossless, 12)).astype(int) - 255
    assert np.abs(differences).max() <= NEAR


@pytest.mark.parametrize("predictor", range(1, 8))
def test_predictors_of_lossless_jpeg_equal_other_decoders(predictor: int) -> None:
    jpeg = jpeg_of_precision(WAVES, 12, lossless=True, predictor=predictor)
    np.testing.assert_array_equal(decoded(jpeg, JPEGLossless), WAVES)
    np.testing.assert_array_equal(imagecodecs.ljpeg_decode(jpeg), WAVES)


def with_frame(jpeg: bytes, syntax: UID, pixels: np.ndarray = WAVES, bits: int = 12) -> Dataset:
    dataset = dicom(pixels, bits=bits)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([jpeg])
    dataset["PixelData"].is_undefined_length = True
    return dataset


def decoded(jpeg: bytes, syntax: UID) -> np.ndarray:
    return decode_pixels(with_frame(jpeg, syntax), syntax)


def values(name: str) -> np.ndarray:
    """Stored values of a file that comes with pydicom."""
    dataset = dcmread(FOLDER / name)
    return decode_pixels(dataset, dataset.file_meta.TransferSyntaxUID)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("MR_small_implicit.dcm", "MR_small.dcm"),
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle.dcm"),
        ("SC_rgb_gdcm_KY.dcm", "SC_rgb_rle.dcm"),
        ("JPEG-lossy.dcm", "JPGExtended.dcm"),
        ("SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm"),
    ],
)
def test_files_of_other_encoders_have_the_same_pixels(name: str, same: str) -> None:
    np.testing.assert_array_equal(values(name), values(same))


def test_published_values_of_pydicoms_files() -> None:
    """Those that pydicom's own tests expect (tests/pixels/pixels_reference.py), of its decoders."""
    extended = values("JPGExtended.dcm")
    assert (extended.dtype, extended[420, 140], extended[230, 120]) == (np.uint16, 244, 95)
    near = values("JPEGLSNearLossless_16.dcm")[:45:5, 0]
    assert near.tolist() == [65535, 32765, 16385, 4095, 1025, 255, 65, 15, 5]


def test_a_deflated_file_of_pydicoms() -> None:
    dataset = dcmread(FOLDER / "image_dfl.dcm")
    stream = io.BytesIO()
    dataset.Modality = "CR"
    dataset.save_as(stream)
    np.testing.assert_array_equal(shown(stream.getvalue()), dataset.pixel_array)


@pytest.mark.parametrize("syntax", [*CODECS, JPEGExtended12Bit], ids=lambda syntax: syntax.name)
def test_without_the_extra_one_line_says_what_to_install(monkeypatch, syntax: UID) -> None:
    content = in_syntax(WAVES, syntax, 12)
    monkeypatch.setattr(dicom_pixels, "is_installed", lambda: False)
    monkeypatch.setattr(dicom_jpeg, "is_installed", lambda: False)
    with refused(f"image: its {'pixels' if syntax == JPEGExtended12Bit else 'transfer syntax'}", syntax.name):
        shown(content)
    with refused("pip install 'cxr[dicom]'"):
        shown(content)


LOSSLESS_JPEG = jpeg_of_precision(WAVES, 12, lossless=True)
EXTENDED_JPEG = jpeg_of_precision(WAVES, 12)
LS = imagecodecs.jpegls_encode(WAVES)
SOF = LOSSLESS_JPEG.index(b"\xff\xc3")
SCAN = LOSSLESS_JPEG.index(b"\xff\xda")


def changed(jpeg: bytes, at: int, new: bytes) -> bytes:
    return jpeg[:at] + new + jpeg[at + len(new) :]


@pytest.mark.parametrize(
    ("jpeg", "syntax", "why"),
    [
        (LOSSLESS_JPEG[:-2], JPEGLossless, "end"),
        (LOSSLESS_JPEG[: len(LOSSLESS_JPEG) // 2], JPEGLosslessSV1, "end"),
        (EXTENDED_JPEG, JPEGLossless, "process"),
        (LOSSLESS_JPEG, JPEGLSLossless, "process"),
        (jpeg_of_precision(WAVES, 16, lossless=True), JPEGExtended12Bit, "process"),
        (changed(LOSSLESS_JPEG, SOF + 5, struct.pack(">H", 65000)), JPEGLossless, "size"),
        (changed(LS, LS.index(b"\xff\xf7") + 7, struct.pack(">H", 65000)), JPEGLSLossless, "size"),
        (jpeg_of_precision(np.stack([WAVES] * 3, 2), 12, lossless=True), JPEGLossless, "size"),
        (changed(LOSSLESS_JPEG, SOF + 4, b"\x01"), JPEGLossless, "bits"),
        (LOSSLESS_JPEG[:SCAN] + LOSSLESS_JPEG[SCAN:-2] * 2 + b"\xff\xd9", JPEGLossless, "scans"),
        (LOSSLESS_JPEG[: SCAN + 20] + b"\xff\xd9", JPEGLossless, "data"),
        (LOSSLESS_JPEG[:2] + LOSSLESS_JPEG[SCAN:], JPEGLossless, "order of markers"),
        (LOSSLESS_JPEG[:2] + b"\0" + LOSSLESS_JPEG[2:], JPEGLossless, "marker"),
        (LOSSLESS_JPEG[1:], JPEGLossless, "start"),
        (LOSSLESS_JPEG[:2] + b"\xff\xe1\0\2" * 1000 + LOSSLESS_JPEG[2:], JPEGLossless, "segments"),
    ],
)
def test_a_frame_is_checked_before_it_is_decoded(monkeypatch, jpeg: bytes, syntax: UID, why: str) -> None:
    def never(*_: object, **__: object) -> None:
        pytest.fail("decoded")

    monkeypatch.setattr(imagecodecs, "jpeg8_decode", never)
    monkeypatch.setattr(imagecodecs, "jpegls_decode", never)
    dataset = with_frame(jpeg, syntax)
    with pytest.raises(ValueError, match=f"^{why}$"):
        dicom_jpeg.decode_jpeg(jpeg, dataset, syntax)
    with refused("image: its pixels cannot be decoded", syntax.name):
        shown(dicom_bytes(dataset))


def test_what_encoders_write_around_an_image_is_read() -> None:
    """Application segments, fill bytes, and padding to an even length with 0 or 255."""
    for padding in (b"", b"\0", b"\xff", b"\0" * 510):
        jpeg = LOSSLESS_JPEG[:2] + b"\xff\xe1\0\2" * 50 + b"\xff" * 9 + LOSSLESS_JPEG[2:] + padding
        np.testing.assert_array_equal(decoded(jpeg, JPEGLosslessSV1), WAVES)
        assert frame_header(jpeg) == (0xC3, 12, 48, 48, 1)


def deflated_start(content: bytes) -> int:
    """Where the meta information ends, by the length of its group."""
    return 144 + int.from_bytes(content[140:144], "little")


def test_a_deflated_file_unpacks_to_no_more_than_is_allowed() -> None:
    content = in_syntax(np.zeros((600, 600), np.uint16), DeflatedExplicitVRLittleEndian)
    assert len(content) < 5000
    with pytest.raises(PixelCountError, match="600 x 600 pixels; at most 359,999"):
        read_original_bytes(content, "image", 600**2 - 1)
    packer = zlib.compressobj(wbits=-15)
    bomb = content[: deflated_start(content)] + packer.compress(bytes(8 * 10**6)) + packer.flush()
    with pytest.raises(PixelCountError, match="unpacks to more than 360,000 pixels take"):
        read_original_bytes(bomb, "image", 600**2)


def test_a_damaged_deflated_file_is_an_error() -> None:
    content = in_syntax(WAVES, DeflatedExplicitVRLittleEndian)
    start = deflated_start(content)
    for damaged_file in (content[:-50], content[:start] + b"no deflate stream", content[:start]):
        with refused("image: damaged or incomplete DICOM file"):
            shown(damaged_file)


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # pytest has its own filters
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_damaged_files_are_read_or_an_error_of_one_line(syntax: UID) -> None:
    messages = []
    for content in damaged(syntax, 40):
        try:
            read_original_bytes(content, "image", PIXELS_ALLOWED)
        except UserError as error:
            messages.append(str(error))
    assert 5 < len(messages) < 40
    assert all(message.startswith("image: ") for message in messages)
    assert not re.search("\n|Secret|SECRET|1901", "".join(messages))


@pytest.mark.slow
def test_thousands_of_damaged_files(monkeypatch, capfd) -> None:
    """A minute: 2,000 of each transfer syntax; in processes of their own, since a decoder may crash."""
    monkeypatch.setattr("sys.argv", ["dicom_fuzz", "--files", "2000"])
    main()
    rows = [line for line in capfd.readouterr().out.splitlines() if "(1.2.840" in line]
    assert len(rows) == len(SYNTAXES)
    for row in rows:
        assert float(re.findall(r"([0-9.]+) s \|", row)[0]) < 1, row
        assert float(re.findall(r"(\d+) MB \|", row)[0]) < 50, row


def test_jpeg_2000_is_pillows_whatever_else_is_installed(monkeypatch) -> None:
    """pydicom would try other packages first, such as GDCM, which the service must not use."""
    asked = []

    class Decoder:
        def as_array(self, *_: object, **options: object) -> object:
            asked.append(options["decoding_plugin"])
            return WAVES, {"photometric_interpretation": "MONOCHROME2"}

    monkeypatch.setattr(dicom_pixels, "get_decoder", lambda _: Decoder())
    shown(in_syntax(WAVES, JPEG2000, 12))
    shown(in_syntax(waves(np.uint8, 8), JPEGBaseline8Bit))
    assert asked == ["pillow", "pillow"]
