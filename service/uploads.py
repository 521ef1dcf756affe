"""Uploads are untrusted: bytes are counted as they arrive, and images are checked before they are decoded."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from cxr.core.errors import FormatError, PixelCountError, UserError
from cxr.data.radiograph import Original, read_original_bytes
from service.errors import Problem, busy
from service.settings import Settings

# A progressive JPEG of many tiny scans can keep a decoder busy for hours; encoders write about ten scans
# (https://libjpeg-turbo.org/pmwiki/uploads/About/TwoIssueswiththeJPEGStandard.pdf).
MAX_SCANS = 100


@contextlib.asynccontextmanager
async def uploaded(
    request: Request, field: str, settings: Settings, files: int
) -> AsyncIterator[list[UploadFile]]:
    """The 1 to `files` files of the multipart field `field`, each on disk if larger than a megabyte.

    Raises `Problem`: 408 too slow, 413 too large, 415 not multipart, 400 malformed, 422 other fields or too
    many files, 503 no space on the disk.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "multipart/form-data":
        raise Problem(415, "not-multipart", f"Send the image as multipart/form-data, in the field {field!r}.")
    parser = MultiPartParser(
        request.headers,
        _counted(request, settings.max_bytes),
        max_files=files + 1,  # one more, to know which limit was exceeded
        max_fields=8,
        max_part_size=1024,  # of a field that is not a file
    )
    try:
        async with asyncio.timeout(settings.timeout):
            form = await parser.parse()
    except TimeoutError:
        raise Problem(408, "slow-upload", f"The upload took longer than {settings.timeout} s.") from None
    except ClientDisconnect:
        raise Problem(400, "disconnected", "The upload ended before it was complete.") from None
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many(files) from None
        raise Problem(400, "malformed-multipart", f"Malformed multipart body: {error.message}") from None
    except OSError:  # most likely a full disk, which has space again when other uploads have ended
        raise busy("No disk space for the upload. Try again in a moment.") from None
    except (LookupError, ValueError):  # of an unknown or failing charset
        raise Problem(400, "malformed-multipart", "Malformed multipart body: wrong charset.") from None
    try:
        received = [value for value in form.getlist(field) if isinstance(value, UploadFile)]
        if not received or len(received) < len(form):
            raise Problem(422, "missing-field", f"Send a file in the field {field!r}, and no other field.")
        if len(received) > files:
            raise _too_many(files)
        yield received
    finally:
        await form.close()


def _too_many(files: int) -> Problem:
    return Problem(
        422, "too-many-files", f"At most {files} {'file' if files == 1 else 'files'} in a request."
    )


async def _counted(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The chunks of the body. Raises `Problem` 413 beyond `most` bytes, announced or received."""
    problem = Problem(413, "too-many-bytes", f"The request is larger than {most:,} bytes.")
    if len(announced := request.headers.get("content-length", "")) > 15:
        raise problem
    if announced.isascii() and announced.isdigit() and int(announced) > most:
        raise problem
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > most:
            raise problem
        yield chunk


def read_upload(data: bytes, settings: Settings) -> Original:
    """The image of an uploaded file.

    Raises `Problem`: 413 too many pixels, 415 neither PNG, JPEG nor DICOM, 400 damaged or unsuitable.
    """
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MAX_SCANS:
        raise Problem(400, "unreadable-image", f"the file: a JPEG of more than {MAX_SCANS} scans")
    try:
        return read_original_bytes(data, "the file", settings.max_pixels)
    except PixelCountError as error:
        raise Problem(413, "too-many-pixels", str(error)) from None
    except FormatError as error:
        raise Problem(415, "unsupported-format", str(error)) from None
    except UserError as error:
        raise Problem(400, "unreadable-image", str(error)) from None
