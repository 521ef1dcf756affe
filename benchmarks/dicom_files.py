"""One radiograph as a DICOM file in every transfer syntax that is read, for tests and benchmarks."""

import io
from collections.abc import Callable

import imagecodecs
import numpy as np
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from cxr.data.dicom_pixels import NATIVE
from tests.builders import dicom, dicom_bytes

NEAR = 2  # the largest difference of a stored value that JPEG-LS is allowed
LOSSLESS = (*NATIVE, RLELossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)


def waves(dtype: type, bits: int) -> np.ndarray:
    """(48, 48) stored values with some noise, over the whole range of `bits`."""
    y, x = np.mgrid[:48, :48]
    levels = (np.sin(x / 7) * np.cos(y / 9) + 1) / 2 + np.random.default_rng(0).uniform(-0.05, 0.05, x.shape)
    lowest = -(2 ** (bits - 1)) if np.iinfo(dtype).min < 0 else 0
    return (lowest + levels.clip(0, 1) * (2**bits - 1)).round().astype(dtype)


def in_syntax(pixels: np.ndarray, syntax: UID, bits: int | None = None, **elements: object) -> bytes:
    """pixels: (H, W) or (H, W, 3) of 8 or 16 bits. bits: stored, all of them if None. elements: see `dicom`.

    Raises `KeyError` for a transfer syntax that is not read.
    """
    bits = bits or 8 * pixels.itemsize
    dataset = dicom(pixels, "RGB" if pixels.ndim == 3 else "MONOCHROME2", bits, **elements)
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = pixels.byteswap().tobytes()
    elif syntax == RLELossless:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.compress(syntax)
    elif syntax not in NATIVE:
        unsigned = pixels.view(f"u{pixels.itemsize}")  # codecs know no signs
        dataset.PixelData = encapsulate([ENCODERS[syntax](unsigned, bits)])
        dataset["PixelData"].is_undefined_length = True
    return dicom_bytes(dataset)


def jpeg_of_precision(pixels: np.ndarray, bits: int, **options: object) -> bytes:
    """A JPEG whose frame header states `bits`, by libjpeg-turbo; colours are not converted."""
    space = "RGB" if pixels.ndim == 3 else None
    stored = pixels & np.array(2**bits - 1, pixels.dtype)
    return imagecodecs.jpeg8_encode(
        stored, colorspace=space, outcolorspace=space, bitspersample=bits, **options
    )


def _pillow(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


ENCODERS: dict[UID, Callable[[np.ndarray, int], bytes]] = {
    JPEGBaseline8Bit: lambda pixels, _: _pillow(pixels, "JPEG", quality=95),
    JPEGExtended12Bit: lambda pixels, bits: jpeg_of_precision(pixels, bits, level=95),
    JPEGLossless: lambda pixels, bits: jpeg_of_precision(pixels, bits, lossless=True, predictor=4),
    JPEGLosslessSV1: lambda pixels, bits: jpeg_of_precision(pixels, bits, lossless=True, predictor=1),
    JPEGLSLossless: lambda pixels, _: imagecodecs.jpegls_encode(pixels),
    JPEGLSNearLossless: lambda pixels, _: imagecodecs.jpegls_encode(pixels, level=NEAR),
    JPEG2000Lossless: lambda pixels, _: _pillow(pixels, "JPEG2000", irreversible=False, no_jp2=True),
    JPEG2000: lambda pixels, _: _pillow(
        pixels, "JPEG2000", irreversible=True, quality_layers=[2], no_jp2=True
    ),
}
