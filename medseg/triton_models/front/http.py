"""The front's HTTP: what may pass is named here, and its description is checked; bodies flow through in pieces."""

from __future__ import annotations

import asyncio
import json
import re
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import h11

from medseg.engines.credentials import KEY_HEADER
from medseg.errors import InputError
from medseg.triton_models.cancelled import new_id
from medseg.triton_models.front.again import Left, Replaced
from medseg.triton_models.front.bodies import PIECE, Room
from medseg.triton_models.front.doors import Doors, http_socket, metrics_socket, shut
from medseg.triton_models.front.passing import Answer, Behind, GoneError, RefusedError, answered, passed_on
from medseg.triton_models.front.rules import MOST_BYTES, MOST_TEXT, rewritten

_IDLE_SECONDS, _HEAD_SECONDS, _BODY_SECONDS, _DRAIN_SECONDS = 600, 30, 60, 60
_MOST_CONNECTIONS = 256
_MODEL = r"/v2/models/[\w.-]+(?:/versions/\d+)?"
_ASKED = re.compile(rf"/v2|/v2/health/(?:live|ready)|/v2/models/stats|{_MODEL}(?:/(?:ready|config|stats))?", re.ASCII)
_INFER = re.compile(rf"{_MODEL}/infer", re.ASCII)
_MEMORY = re.compile(r"/v2/systemsharedmemory(?:/region/[\w.-]+)?/(?:status|register|unregister)", re.ASCII)


@dataclass(frozen=True)
class _Request:
    method: str
    target: str
    headers: Mapping[str, str]  # by lower-case name

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", 0))


async def listen(doors: Doors, replaced: Replaced) -> tuple[list[asyncio.Server], dict[str, int]]:
    """Servers for HTTP, on loopback, and for the metrics, and their ports. Raises OSError where a port is taken."""
    sockets = Path(doors.sockets)
    room, left = Room(MOST_BYTES), Left(sockets, Answer.close)
    connected = partial(_connected, doors, Behind(http_socket(sockets), replaced, room, left), [0])
    scraped = partial(_connected, None, Behind(metrics_socket(sockets), replaced, room, left), [0])
    told = [
        ("http_port", connected, "127.0.0.1", doors.http_port),
        ("metrics_port", scraped, doors.metrics_host, doors.metrics_port),
    ]
    servers = {name: await _opened(client, host, port) for name, client, host, port in told}
    return list(servers.values()), {name: server.sockets[0].getsockname()[1] for name, server in servers.items()}


async def _opened(client: Callable[[Reader, Writer], Awaitable[None]], host: str, port: int) -> asyncio.Server:
    try:
        return await asyncio.start_server(client, host, port, limit=PIECE)
    except OSError as error:
        raise shut(host, port, error) from error


async def _connected(doors: Doors | None, behind: Behind, count: list[int], reader: Reader, writer: Writer) -> None:
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


async def _exchanged(doors: Doors | None, behind: Behind, reader: Reader, writer: Writer) -> bool:
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
        with behind.room.body(reader, unread) as body:
            try:
                answer = await answered(behind, f"{request.method} {request.target}", text, body, name)
            finally:
                unread = body.unread
            return await passed_on(answer, writer) and keep
    except GoneError:
        return False
    except (RefusedError, InputError) as error:
        await _say(writer, getattr(error, "status", 400), str(error), keep and not unread)
        await _drained(reader, unread)
        return keep and not unread


def _read_head(head: bytes) -> tuple[_Request, bool]:
    """The request that a head describes, and whether the connection may take another after it."""
    parser = h11.Connection(h11.SERVER)
    try:
        parser.receive_data(head)
        event = parser.next_event()
    except h11.RemoteProtocolError as error:
        raise RefusedError(error.error_status_hint, f"the request cannot be read: {error}") from error
    assert isinstance(event, h11.Request)
    headers = {name.decode().lower(): value.decode("latin-1") for name, value in event.headers}
    if "transfer-encoding" in headers or "content-encoding" in headers:
        raise RefusedError(411, "the body is chunked or compressed; expected a Content-Length and plain bytes")
    closing = "close" in headers.get("connection", "").lower() or event.http_version != b"1.1"
    return _Request(event.method.decode(), event.target.decode("latin-1"), headers), not closing


def _admitted(doors: Doors | None, request: _Request) -> int:
    """The bytes of the body that describe the request. Raises RefusedError for what is not offered to this client."""
    _check_sender(request.headers)
    get, post = request.method == "GET", request.method == "POST"
    if doors is None or (get and _ASKED.fullmatch(request.target)):
        if not get or request.length or not (doors or request.target == "/metrics"):
            raise RefusedError(404, "only GET /metrics is offered here")
        return 0
    memory = _MEMORY.fullmatch(request.target)
    if memory and not _trusted(doors, request):
        raise RefusedError(403, "shared memory is for clients of the server's own user; send the tensor's bytes")
    if not (memory and (get or post)) and not (post and _INFER.fullmatch(request.target)):
        raise RefusedError(404, f"{request.method} {request.target[:200]!r} is not offered here")
    if request.length > MOST_BYTES:
        raise RefusedError(413, f"the body has {request.length} bytes; expected at most {MOST_BYTES}")
    return _description_length(request)


def _description_length(request: _Request) -> int:
    """The bytes of JSON that a body begins with: all of them, where an inference does not say less."""
    told = str(request.length)
    if _INFER.fullmatch(request.target):
        told = request.headers.get("inference-header-content-length", told)
    if not re.fullmatch(r"\d{1,12}", told, re.ASCII) or int(told) > request.length:
        raise RefusedError(400, f"Inference-Header-Content-Length is {told[:20]!r}; expected at most the body's length")
    if int(told) > MOST_TEXT:
        raise RefusedError(
            400, f"the request's JSON has {told} bytes; expected at most {MOST_TEXT}: tensors are sent as binary data"
        )
    return int(told)


def _check_sender(headers: Mapping[str, str]) -> None:
    """Refuse web pages: a browser names a page's origin, or a host name that the page made to mean this machine."""
    if "origin" in headers:
        raise RefusedError(403, "requests from web pages are not answered")
    host = re.sub(r":\d+$", "", headers.get("host", "localhost")).strip("[]")
    with suppress(ValueError):
        ip_address(host)
        return
    if host.lower() != "localhost":
        raise RefusedError(403, "the Host header is not an address of this machine; expected an address or localhost")


def _trusted(doors: Doors | None, request: _Request) -> bool:
    return doors is not None and doors.trusts([request.headers.get(KEY_HEADER, "")])


async def _drained(reader: Reader, length: int) -> None:
    """Read what a refused client still sends: it does not see the refusal before it has sent everything."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while length > 0 and (piece := await reader.read(PIECE)):
                length -= len(piece)


async def _say(writer: Writer, status: int, sentence: str, keep: bool) -> None:
    body = json.dumps({"error": sentence}).encode()
    about = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    closing = "" if keep else "Connection: close\r\n"
    writer.write(f"HTTP/1.1 {status} Refused\r\n{about}{closing}\r\n".encode() + body)
    await writer.drain()
