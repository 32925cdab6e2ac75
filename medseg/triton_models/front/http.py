"""The front's HTTP: what may pass is named here, and its description is checked; bodies flow through in pieces."""

from __future__ import annotations

import asyncio
import json
import re
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import h11

from medseg.engines.credentials import KEY_HEADER
from medseg.errors import InputError
from medseg.triton_models.cancelled import new_id
from medseg.triton_models.front.again import Replaced, Twice, leave
from medseg.triton_models.front.doors import Doors, http_socket, metrics_socket
from medseg.triton_models.front.rules import MOST_BYTES, MOST_TEXT, rewritten

_PIECE = 1 << 20
_KEPT = 8 << 20  # larger bodies flow through, and cannot be sent a second time
_IDLE_SECONDS, _HEAD_SECONDS, _BODY_SECONDS, _DRAIN_SECONDS = 600, 30, 60, 60
_LOOK_SECONDS = 0.5  # for clients that went away
_MOST_CONNECTIONS = 256
_MODEL = r"/v2/models/[\w.-]+(?:/versions/\d+)?"
_ASKED = re.compile(rf"/v2|/v2/health/(?:live|ready)|/v2/models/stats|{_MODEL}(?:/(?:ready|config|stats))?", re.ASCII)
_INFER = re.compile(rf"{_MODEL}/infer", re.ASCII)
_MEMORY = re.compile(r"/v2/systemsharedmemory(?:/region/[\w.-]+)?/(?:status|register|unregister)", re.ASCII)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

_AWAY = "the server is being started again; try again in some seconds"


class _GoneError(Exception):
    """The client went away before its answer came."""


class _RefusedError(Exception):
    """A request that gets this status and sentence instead of Triton's answer."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class _Request:
    method: str
    target: str
    headers: Mapping[str, str]  # by lower-case name

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", 0))


@dataclass(frozen=True)
class _Behind:
    socket: str  # Triton's
    replaced: Replaced


@dataclass(frozen=True)
class _Answer:
    head: bytes
    theirs: Reader  # where the body will come
    ours: Writer  # to be closed


async def listen(doors: Doors, replaced: Replaced) -> list[asyncio.Server]:
    """Servers for HTTP and for the metrics, on loopback. Raises OSError where a port is taken."""
    sockets = Path(doors.sockets)
    connected = partial(_connected, doors, _Behind(http_socket(sockets), replaced), [0])
    scraped = partial(_connected, None, _Behind(metrics_socket(sockets), replaced), [0])
    return [
        await asyncio.start_server(connected, "127.0.0.1", doors.http_port, limit=_PIECE),
        await asyncio.start_server(scraped, "127.0.0.1", doors.metrics_port, limit=_PIECE),
    ]


async def _connected(doors: Doors | None, behind: _Behind, count: list[int], reader: Reader, writer: Writer) -> None:
    """One client's connection, to its end; without `doors` it is for the metrics alone."""
    count[0] += 1
    try:
        if count[0] > _MOST_CONNECTIONS:
            await _say(writer, 503, f"more than {_MOST_CONNECTIONS} connections at a time; try again", False)
            return
        while await _exchanged(doors, behind, reader, writer):
            pass
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
        pass  # the client went away, or is too slow
    finally:
        count[0] -= 1
        writer.close()


async def _exchanged(doors: Doors | None, behind: _Behind, reader: Reader, writer: Writer) -> bool:
    """Answer one request; whether the connection can take another."""
    first = await asyncio.wait_for(reader.readexactly(1), _IDLE_SECONDS)
    head = first + await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_SECONDS)
    unread, keep, name = 0, False, ""
    try:
        request, keep = _read_head(head)
        unread = request.length
        description = _admitted(doors, request)
        if request.headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        text = await asyncio.wait_for(reader.readexactly(description), _BODY_SECONDS)
        unread -= description
        if _INFER.fullmatch(request.target):
            text = rewritten(text, unread, _trusted(doors, request), name := new_id())
        answered = await _forwarded(behind, request, text, reader, writer, unread)
    except _GoneError:
        if doors:
            leave(doors, name)
        return False
    except (_RefusedError, InputError) as error:
        await _say(writer, getattr(error, "status", 400), str(error), keep and not unread)
        await _drained(reader, unread)
        return keep and not unread
    return answered and keep


def _read_head(head: bytes) -> tuple[_Request, bool]:
    """The request that a head describes, and whether the connection may take another after it."""
    parser = h11.Connection(h11.SERVER)
    try:
        parser.receive_data(head)
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        raise _RefusedError(error.error_status_hint, f"the request cannot be read: {error}") from error
    assert isinstance(event, h11.Request)
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in event.headers}
    if "transfer-encoding" in headers or "content-encoding" in headers:
        raise _RefusedError(411, "the body is chunked or compressed; expected a Content-Length and plain bytes")
    closing = "close" in headers.get("connection", "").lower() or event.http_version != b"1.1"
    return _Request(event.method.decode(), event.target.decode("latin-1"), headers), not closing


def _admitted(doors: Doors | None, request: _Request) -> int:
    """The bytes of the body that describe the request. Raises _RefusedError for what is not offered to this client."""
    _check_sender(request.headers)
    get, post = request.method == "GET", request.method == "POST"
    if doors is None or (get and _ASKED.fullmatch(request.target)):
        if not get or request.length or not (doors or request.target == "/metrics"):
            raise _RefusedError(404, "only GET /metrics is offered here")
        return 0
    memory = _MEMORY.fullmatch(request.target)
    if memory and not _trusted(doors, request):
        raise _RefusedError(403, "shared memory is for clients of the server's own user; send the tensor's bytes")
    if not (memory and (get or post)) and not (post and _INFER.fullmatch(request.target)):
        raise _RefusedError(404, f"{request.method} {request.target[:200]!r} is not offered here")
    if request.length > MOST_BYTES:
        raise _RefusedError(413, f"the body has {request.length} bytes; expected at most {MOST_BYTES}")
    return _description_length(request)


def _description_length(request: _Request) -> int:
    """The bytes of JSON that a body begins with: all of them, where an inference does not say less."""
    told = str(request.length)
    if _INFER.fullmatch(request.target):
        told = request.headers.get("inference-header-content-length", told)
    if not re.fullmatch(r"\d{1,12}", told, re.ASCII) or int(told) > request.length:
        raise _RefusedError(
            400, f"Inference-Header-Content-Length is {told[:20]!r}; expected at most the body's length"
        )
    if int(told) > MOST_TEXT:
        raise _RefusedError(
            400, f"the request's JSON has {told} bytes; expected at most {MOST_TEXT}: tensors are sent as binary data"
        )
    return int(told)


def _check_sender(headers: Mapping[str, str]) -> None:
    """Refuse web pages: a browser names a page's origin, or asks for a name that the page made to mean this machine."""
    if "origin" in headers:
        raise _RefusedError(403, "requests of web pages are not answered")
    host = re.sub(r":\d+$", "", headers.get("host", "localhost")).strip("[]")
    with suppress(ValueError):
        ip_address(host)
        return
    if host.lower() != "localhost":
        raise _RefusedError(403, "the Host header is no address of this machine; expected an address or localhost")


def _trusted(doors: Doors | None, request: _Request) -> bool:
    return doors is not None and doors.trusts([request.headers.get(KEY_HEADER, "")])


async def _forwarded(
    behind: _Behind, request: _Request, text: bytes, reader: Reader, writer: Writer, unread: int
) -> bool:
    """Pass the request on and Triton's answer back; whether it came whole. Raises _RefusedError if Triton is away."""
    told = f"Inference-Header-Content-Length: {len(text)}\r\n" if unread else ""
    length = f"Content-Length: {len(text) + unread}\r\n"
    message = f"{request.method} {request.target} HTTP/1.1\r\nHost: triton\r\n{told}{length}\r\n".encode() + text
    try:
        if unread > _KEPT:
            return await _passed_on(await _asked(behind, message, reader, unread), writer)
        async with asyncio.timeout(_BODY_SECONDS):
            message += await reader.readexactly(unread)
        twice = Twice(partial(_asked, behind, message, reader, 0), lambda answer: answer.head[9:10] == b"5")
        return await _passed_on(await _awaited(twice.answer(behind.replaced), reader), writer)
    except ConnectionError as error:
        raise _RefusedError(503, _AWAY) from error


async def _awaited(answer: Coroutine[Any, Any, _Answer], reader: Reader) -> _Answer:
    """The answer. Raises _GoneError where the client goes away before it has come."""
    task = asyncio.ensure_future(answer)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
            if reader.at_eof():
                raise _GoneError
        return task.result()
    finally:
        task.cancel()


async def _asked(behind: _Behind, message: bytes, reader: Reader, unread: int) -> _Answer:
    """Triton's answer, of which the head has come. Raises ConnectionError where Triton is away or goes away."""
    try:
        theirs, ours = await asyncio.open_unix_connection(behind.socket, limit=_PIECE)
    except OSError as error:
        raise ConnectionError from error
    try:
        ours.write(message)
        await _copied(reader, ours, unread, _BODY_SECONDS)
        return _Answer(await theirs.readuntil(b"\r\n\r\n"), theirs, ours)
    except BaseException as error:
        ours.close()
        if isinstance(error, asyncio.IncompleteReadError) and not reader.at_eof():
            raise ConnectionError from error
        raise


async def _passed_on(answer: _Answer, writer: Writer) -> bool:
    """Pass Triton's answer back; whether it came whole."""
    try:
        length = _LENGTH.search(answer.head)
        writer.write(answer.head)
        await _copied(answer.theirs, writer, int(length[1]) if length else 0, None)
        return length is not None
    finally:
        answer.ours.close()


async def _copied(source: Reader, target: Writer, length: int, seconds: float | None) -> None:
    """Copy so many bytes; raises IncompleteReadError where the source ends before, TimeoutError where it stalls."""
    while length:
        async with asyncio.timeout(seconds):
            piece = await source.read(min(length, _PIECE))
        if not piece:
            raise asyncio.IncompleteReadError(piece, length)
        target.write(piece)
        await target.drain()
        length -= len(piece)


async def _drained(reader: Reader, length: int) -> None:
    """Read what a refused client still sends: it would not see its refusal before it has sent all."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while length > 0 and (piece := await reader.read(_PIECE)):
                length -= len(piece)


async def _say(writer: Writer, status: int, sentence: str, keep: bool) -> None:
    body = json.dumps({"error": sentence}).encode()
    about = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    closing = "" if keep else "Connection: close\r\n"
    writer.write(f"HTTP/1.1 {status} Refused\r\n{about}{closing}\r\n".encode() + body)
    await writer.drain()
