"""Bodies of requests: read once, sent to Triton piece by piece, and kept in case they must be sent a second time."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager

PIECE = 1 << 20
_SECONDS = 60  # for the next piece to come


class Body:
    """The rest of a request, of so many bytes. Without `kept` it can be sent once alone."""

    def __init__(self, reader: StreamReader, length: int, kept: bool) -> None:
        self.length, self.unread = length, length
        self._reader, self._kept = reader, kept
        self._pieces: list[bytes] = []
        self._sent = False
        self._reading = asyncio.Lock()

    async def send(self, target: StreamWriter) -> None:
        """Send it whole. Raises IncompleteReadError where the client ends before, TimeoutError where it stalls."""
        self._sent, index = True, 0
        while index < len(self._pieces) or self.unread:
            if index == len(self._pieces):
                await self._read(index)
            piece = self._pieces[index]
            if not self._kept:
                self._pieces[index] = b""
            target.write(piece)
            await target.drain()
            index += 1

    def is_spent(self) -> bool:
        """Whether it was sent and cannot be sent again."""
        return self._sent and not self._kept

    def is_gone(self) -> bool:
        """Whether the client went away."""
        return self._reader.at_eof()

    async def _read(self, index: int) -> None:
        """Read the piece of this number, unless it has been read in the meantime."""
        async with self._reading:
            if index < len(self._pieces):
                return
            async with asyncio.timeout(_SECONDS):
                piece = await self._reader.read(min(self.unread, PIECE))
            if not piece:
                raise asyncio.IncompleteReadError(piece, self.unread)
            self._pieces.append(piece)
            self.unread -= len(piece)


class Room:
    """So many bytes of memory for all bodies that are kept at a time; what does not fit is not kept."""

    def __init__(self, most: int) -> None:
        self._free = most

    @contextmanager
    def body(self, reader: StreamReader, length: int) -> Iterator[Body]:
        """A body, kept until the block is left."""
        kept = length <= self._free
        self._free -= length if kept else 0
        try:
            yield Body(reader, length, kept)
        finally:
            self._free += length if kept else 0
