"""Many radiographs in one request, answered one after another while the rest is still on its way.

The connection is not read while a radiograph is answered or an answer waits to be taken, so that memory holds
one file of each stream, and a client sends no faster than it is answered. It has to read while it sends.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from fastapi import Request
from fastapi.responses import StreamingResponse
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service import schemas
from service.errors import Problem
from service.settings import Settings
from service.state import State
from service.uploads import MIN_RATE, PATIENCE, Uploads, client_of, require_multipart

MEDIA_TYPE = "application/x-ndjson"
STREAM_ITEM = schemas.StreamItem.model_json_schema(ref_template="#/components/schemas/{model}")
del STREAM_ITEM["$defs"]  # other endpoints have them

Answerer = Callable[[bytes], schemas.Prediction]


class Lines(StreamingResponse):
    """JSON lines, sent while the request is still being received: nothing else waits for what comes, as
    Starlette's class does to notice that the client has gone."""

    media_type = MEDIA_TYPE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.stream_response(send)


async def streamed(request: Request, field: str, state: State, answer: Answerer) -> Lines:
    """A line, `schemas.StreamItem`, for each file of the multipart field `field`, in their order.

    answer: of a file, in a thread of `state.work`; may raise `Problem`. What is wrong with a file is in its
    line; what ends the request is a last line without a number and a file name. Raises `Problem` for what is
    wrong before the first file is complete, as `uploads.uploaded`.
    """
    lines = _lines(request, field, state, answer)
    first = await anext(lines)

    async def content() -> AsyncGenerator[bytes, None]:
        yield _line(first)
        try:
            async with aclosing(lines):
                async for item in lines:
                    yield _line(item)
        except Problem as problem:
            document = schemas.ProblemDocument(**problem.document())
            yield _line(schemas.StreamItem(problem=document))

    return Lines(content())


def _line(item: schemas.StreamItem) -> bytes:
    return item.model_dump_json().encode() + b"\n"


async def _lines(
    request: Request, field: str, state: State, answer: Answerer
) -> AsyncGenerator[schemas.StreamItem, None]:
    number, work = 0, state.work
    with state.uploads.receiving(client_of(request)):
        async with aclosing(_files(request, field, state.settings, state.uploads)) as files:
            async for name, data in files:
                item = schemas.StreamItem(number=number, file=name)
                try:
                    await work.room()
                    with work.admitted():
                        item.prediction = await work.run(answer, data)
                except Problem as problem:
                    item.problem = schemas.ProblemDocument(**problem.document())
                yield item
                number += 1
    if not number:
        raise Problem(422, "missing-field", f"Send files in the field {field!r}, and no other field.")


async def _files(
    request: Request, field: str, settings: Settings, uploads: Uploads
) -> AsyncGenerator[tuple[str, bytes], None]:
    """Name and bytes of each file, which are held for the client until the next one is asked for."""
    parser = _Parser(request.headers.get("content-type", ""), field, settings.max_bytes)
    client = client_of(request)
    stream, held = request.stream(), 0
    clock, waited, received = asyncio.get_running_loop().time, 0.0, 0
    try:
        while not parser.ended:
            start, patience = clock(), PATIENCE + received / MIN_RATE - waited
            async with asyncio.timeout(min(settings.timeout, patience)):
                chunk = await anext(stream, b"")
            waited, received = waited + clock() - start, received + len(chunk)
            if not chunk and not parser.ended:
                raise Problem(400, "malformed-multipart", "Malformed multipart body: it has no end.")
            uploads.hold(client, len(chunk))
            held += len(chunk)
            problem = parser.write(chunk)
            while parser.files:  # those before it are answered
                yield parser.files.pop(0)
            if problem:
                raise problem
            uploads.release(client, held - parser.unfinished)
            held = parser.unfinished
    except TimeoutError:
        detail = f"The upload was slower than {MIN_RATE:,} bytes a second."
        raise Problem(408, "slow-upload", detail) from None
    except ClientDisconnect:
        raise Problem(400, "disconnected", "The upload ended before it was complete.") from None
    finally:
        uploads.release(client, held)


class _Parser:
    """files: name and bytes of each that is complete. unfinished: bytes of the one that is not."""

    def __init__(self, kind: str, field: str, most: int) -> None:
        """kind: the request's Content-Type. most: bytes of a file. Raises `Problem` 415 and 400."""
        require_multipart(kind, field)
        boundary = parse_options_header(kind)[1].get(b"boundary")
        if not boundary:
            raise Problem(
                400, "malformed-multipart", "Malformed multipart body: Missing boundary in multipart."
            )
        self.files: list[tuple[str, bytes]] = []
        self.ended, self._field, self._most = False, field.encode(), most
        self._content, self._name, self._value, self._disposition = bytearray(), b"", b"", b""
        self._file = ""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._add("_name", data[start:end]),
                "on_header_value": lambda data, start, end: self._add("_value", data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._check,
                "on_part_data": self._extend,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    @property
    def unfinished(self) -> int:
        return len(self._content)

    def write(self, data: bytes) -> Problem | None:
        """400 for what is no multipart body, 422 for another field, 413 for too large a file."""
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            return Problem(400, "malformed-multipart", f"Malformed multipart body: {error}")
        except Problem as problem:
            return problem
        return None

    def _begin(self) -> None:
        self._disposition = b""

    def _add(self, part: str, data: bytes) -> None:
        setattr(self, part, getattr(self, part) + data)

    def _end_header(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name = self._value = b""

    def _check(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if options.get(b"name") != self._field or b"filename" not in options:
            detail = f"Send files in the field {self._field.decode()!r}, and no other field."
            raise Problem(422, "missing-field", detail)
        self._file = options[b"filename"].decode("utf-8", "replace")

    def _extend(self, data: bytes, start: int, end: int) -> None:
        if len(self._content) + end - start > self._most:
            raise Problem(413, "too-many-bytes", f"A file is larger than {self._most:,} bytes.")
        self._content += data[start:end]

    def _end_part(self) -> None:
        self.files.append((self._file, bytes(self._content)))
        self._content = bytearray()

    def _end(self) -> None:
        self.ended = True
