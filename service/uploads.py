"""Uploads are untrusted: bytes are counted as they arrive, and images are checked before they are decoded."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from cxr.core.errors import FormatError, PixelCountError, UserError
from cxr.data.radiograph import Original, read_original_bytes
from service.errors import Problem, busy
from service.settings import Settings

# Requests whose bodies are being received, in all and of one address.
MAX_UPLOADS, MAX_CLIENT_UPLOADS = 192, 64
# Times CXR_MAX_BYTES of all bodies held at once, and half as much of one address; see docs/security.md.
HELD = 4
PATIENCE = 5.0  # seconds before a body has to keep up with MIN_RATE
MIN_RATE = 4096  # bytes a second, on average


class Uploads:
    """uploading: requests whose bodies are being received. They hold memory, but no place in the queue."""

    def __init__(self, max_bytes: int, timeout: int) -> None:
        self.uploading, self._timeout, self._limit = 0, timeout, HELD * max_bytes
        self._clients: Counter[str] = Counter()  # uploads of each address
        self._held: Counter[str] = Counter()  # bytes of each address

    @contextlib.contextmanager
    def receiving(self, client: str) -> Iterator[None]:
        """Raises `Problem` 503 if too many bodies are being received."""
        if self.uploading >= MAX_UPLOADS or self._clients[client] >= MAX_CLIENT_UPLOADS:
            raise self._busy("Too many uploads at once.")
        self.uploading += 1
        self._clients[client] += 1
        try:
            yield
        finally:
            self.uploading -= 1
            self._clients[client] -= 1
            self._clients += Counter()  # drops zeros, and so addresses

    def hold(self, client: str, count: int) -> None:
        """Raises `Problem` 503 if `count` bytes more are too many."""
        if self._held.total() + count > self._limit or self._held[client] + count > self._limit // 2:
            raise self._busy("The uploads in memory are too large together.")
        self._held[client] += count

    def release(self, client: str, count: int) -> None:
        self._held[client] -= count
        self._held += Counter()

    def _busy(self, detail: str) -> Problem:
        # By then each of them has been received or given up.
        return busy(f"{detail} Try again in {self._timeout} s.", self._timeout)


@contextlib.asynccontextmanager
async def uploaded(
    request: Request, field: str, settings: Settings, files: int, uploads: Uploads
) -> AsyncIterator[list[UploadFile]]:
    """The 1 to `files` files of the multipart field `field`, in memory.

    Raises `Problem`: 408 too slow, 413 too large, 415 not multipart, 400 malformed, 422 other fields or too
    many files, 503 too many uploads at once.
    """
    require_multipart(request.headers.get("content-type", ""), field)
    client = client_of(request)
    body = _Body(request, settings, uploads, client)
    parser = MultiPartParser(
        request.headers,
        body.chunks(),
        max_files=files + 1,  # one more, to know which limit was exceeded
        max_fields=8,
        max_part_size=1024,  # of a field that is not a file
    )
    parser.spool_max_size = 0  # none is written to disk
    try:
        with uploads.receiving(client):
            form = await _parsed(parser, files, settings)
        try:
            received = [value for value in form.getlist(field) if isinstance(value, UploadFile)]
            if not received or len(received) < len(form):
                detail = f"Send a file in the field {field!r}, and no other field."
                raise Problem(422, "missing-field", detail)
            if len(received) > files:
                raise _too_many(files)
            yield received
        finally:
            await form.close()
    finally:
        uploads.release(client, body.received)


def require_multipart(kind: str, field: str) -> None:
    """kind: the request's Content-Type. Raises `Problem` 415 if it is another."""
    if kind.partition(";")[0].strip().lower() != "multipart/form-data":
        raise Problem(415, "not-multipart", f"Send the image as multipart/form-data, in the field {field!r}.")


def client_of(request: Request) -> str:
    return request.client.host if request.client else ""


async def _parsed(parser: MultiPartParser, files: int, settings: Settings) -> FormData:
    try:
        return await parser.parse()
    except TimeoutError:
        limits = f"slower than {MIN_RATE:,} bytes a second, or took longer than {settings.timeout} s"
        detail = f"The upload was {limits}."
        raise Problem(408, "slow-upload", detail) from None
    except ClientDisconnect:
        raise Problem(400, "disconnected", "The upload ended before it was complete.") from None
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise _too_many(files) from None
        raise Problem(400, "malformed-multipart", f"Malformed multipart body: {error.message}") from None
    except (LookupError, ValueError):  # of an unknown or failing charset
        raise Problem(400, "malformed-multipart", "Malformed multipart body: wrong charset.") from None


def _too_many(files: int) -> Problem:
    return Problem(
        422, "too-many-files", f"At most {files} {'file' if files == 1 else 'files'} in a request."
    )


class _Body:
    """received: bytes, which `uploads` holds for the client until they are released."""

    def __init__(self, request: Request, settings: Settings, uploads: Uploads, client: str) -> None:
        self.request, self.settings, self.uploads, self.client = request, settings, uploads, client
        self.received = 0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Raises `Problem` 413 beyond the most bytes, announced or received, and TimeoutError if they come
        too slowly."""
        most = self.settings.max_bytes
        problem = Problem(413, "too-many-bytes", f"The request is larger than {most:,} bytes.")
        if len(announced := self.request.headers.get("content-length", "")) > 15:
            raise problem
        if announced.isascii() and announced.isdigit() and int(announced) > most:
            raise problem
        start, stream = asyncio.get_running_loop().time(), self.request.stream()
        while True:
            patience = min(self.settings.timeout, PATIENCE + self.received / MIN_RATE)
            async with asyncio.timeout_at(start + patience):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            if self.received + len(chunk) > most:
                raise problem
            self.uploads.hold(self.client, len(chunk))
            self.received += len(chunk)
            yield chunk


def read_upload(data: bytes, settings: Settings) -> Original:
    """The image of an uploaded file.

    Raises `Problem`: 413 too many pixels, 415 of another kind, 400 damaged or unsuitable.
    """
    try:
        return read_original_bytes(data, "the file", settings.max_pixels)
    except PixelCountError as error:
        raise Problem(413, "too-many-pixels", str(error)) from None
    except FormatError as error:
        raise Problem(415, "unsupported-format", str(error)) from None
    except UserError as error:
        raise Problem(400, "unreadable-image", str(error)) from None
