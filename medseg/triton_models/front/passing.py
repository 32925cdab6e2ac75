"""Requests passed on to Triton over HTTP, and its answers back: what waits at a process that died is asked again."""

from __future__ import annotations

import asyncio
import json
import re
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from medseg.triton_models.front.again import Left, Replaced, Twice
from medseg.triton_models.front.bodies import PIECE, Body, Room
from medseg.triton_models.front.words import AWAY, LOST, died, trouble

_LOOK_SECONDS = 0.5  # for clients that went away
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_FAILED = b"HTTP/1.1 5"


class GoneError(Exception):
    """The client went away before its answer came."""


class RefusedError(Exception):
    """A request that gets this status and sentence instead of Triton's answer."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """Triton's, whose head has come."""

    head: bytes
    theirs: Reader  # where the body will come
    ours: Writer | None = None  # to be closed
    failure: str = ""  # the body, where it was read because it says why there is no answer

    def close(self) -> None:
        """Close the connection that it comes by."""
        if self.ours:
            self.ours.close()


@dataclass(frozen=True)
class Behind:
    """What a request is passed on to, and what helps if that dies."""

    socket: str  # Triton's
    replaced: Replaced
    room: Room  # for bodies that may have to be sent again
    left: Left[Answer]


async def answered(behind: Behind, line: str, text: bytes, body: Body, name: str) -> Answer:
    """Triton's answer, whose head has arrived.

    Raises RefusedError where Triton is away, GoneError where the client is.
    """
    told = f"Inference-Header-Content-Length: {len(text)}\r\n" if body.length else ""
    length = f"Content-Length: {len(text) + body.length}\r\n"
    message = f"{line} HTTP/1.1\r\nHost: triton\r\n{told}{length}\r\n".encode() + text
    left = partial(behind.left, name) if name else None
    twice = Twice(partial(_asked, behind, message, body), lambda answer: bool(answer.failure), _died, left)
    try:
        answer = await _awaited(twice.answer(behind.replaced), body)
        return _unavailable(said) if (said := trouble(answer.failure)) else answer
    except ConnectionError as error:
        raise RefusedError(503, AWAY) from error


def _died(answer: Answer | BaseException) -> bool:
    return isinstance(answer, Answer) and died(answer.failure)


async def _awaited(answer: Coroutine[Any, Any, Answer], body: Body) -> Answer:
    """The answer. Raises GoneError where the client goes away before it has come."""
    task = asyncio.ensure_future(answer)
    try:
        while not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
            if body.is_gone():
                raise GoneError
        return task.result()
    finally:
        task.cancel()
        del task  # an error holds this frame, which must not hold it: the request's body is in it


async def _asked(behind: Behind, message: bytes, body: Body) -> Answer:
    """Triton's answer, whose head has arrived. Raises ConnectionError where Triton is away or goes away."""
    if body.is_spent():
        return _unavailable(LOST)
    try:
        theirs, ours = await asyncio.open_unix_connection(behind.socket, limit=PIECE)
    except OSError as error:
        raise ConnectionError from error
    try:
        ours.write(message)
        await body.send(ours)
        head = await theirs.readuntil(b"\r\n\r\n")
        if not head.startswith(_FAILED):
            return Answer(head, theirs, ours)
        said = await theirs.readexactly(_length(head) or 0)
        ours.close()
        return _failure(head, said)
    except BaseException as error:
        ours.close()
        if isinstance(error, asyncio.IncompleteReadError) and not body.is_gone():
            raise ConnectionError from error
        raise


def _unavailable(sentence: str) -> Answer:
    """What a client is told instead of Triton's own words about an internal problem."""
    body = json.dumps({"error": sentence}).encode()
    about = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return _failure(f"HTTP/1.1 503 Refused\r\nRetry-After: 1\r\n{about}\r\n".encode(), body)


def _failure(head: bytes, body: bytes) -> Answer:
    theirs = asyncio.StreamReader()
    theirs.feed_data(body)
    return Answer(head, theirs, failure=body.decode(errors="replace"))


def _length(head: bytes) -> int | None:
    found = _LENGTH.search(head)
    return int(found[1]) if found else None


async def passed_on(answer: Answer, writer: Writer) -> bool:
    """Pass Triton's answer back; whether it came whole."""
    try:
        length = unread = _length(answer.head)
        writer.write(answer.head)
        while unread:
            piece = await answer.theirs.read(min(unread, PIECE))
            if not piece:
                raise asyncio.IncompleteReadError(piece, unread)
            writer.write(piece)
            await writer.drain()
            unread -= len(piece)
        return length is not None
    finally:
        answer.close()
