"""Shared memory: inputs that a server on this machine reads in place, instead of through a connection."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

from tritonclient.utils import InferenceServerException, shared_memory

from medseg.task import Array

LARGE_BYTES = 1 << 20  # below this, a connection's copies cost less than a millisecond
KEPT_BYTES = 1 << 24  # what a client of large inputs keeps between two requests: making it anew costs milliseconds
PREFIX = "medseg-client_"  # then the owner's process id: the next start of a server removes what a kill left
_ALIGN = 64  # bytes; what a tensor's start must be a multiple of for vector instructions

Wire = tuple[Any, Array]  # tritonclient's InferInput, and what it is to hold


class SharedInputs:
    """A piece of system shared memory for one thread's inputs, as large as its largest request since it was made.

    Inputs smaller than `least_bytes` are left to the connection. If this is not 0, all inputs use the connection once
    the server has refused the memory: the server may run in a container, or allow no shared memory.
    """

    def __init__(self, client: Any, headers: dict[str, str], least_bytes: int = 0) -> None:
        self._client, self._headers, self._least = client, headers, least_bytes
        self._name = f"{PREFIX}{os.getpid()}_{uuid4().hex[:12]}"
        self._handle: Any = None
        self._bytes = 0
        self._refused = False

    def hold(self, inputs: Sequence[Wire]) -> list[Wire]:
        """Copy the arrays into the memory and point their wires there; the inputs for which that was not done."""
        held = [] if self._refused else [one for one in inputs if one[1].nbytes >= self._least]
        sizes = [-(-array.nbytes // _ALIGN) * _ALIGN for _, array in held]
        if sum(sizes) > self._bytes and not self._grown(sum(sizes)):
            return list(inputs)
        offset = 0
        for (wire, array), size in zip(held, sizes, strict=True):
            shared_memory.set_shared_memory_region(self._handle, [array], offset)
            wire.set_shared_memory(self._name, array.nbytes, offset)
            offset += size
        return [one for one in inputs if not any(one is other for other in held)]

    def answered(self) -> None:
        """Give back the memory of a large request that was answered. Else it would be held until the next one."""
        if self._least and self._bytes > KEPT_BYTES:
            self.close()

    def close(self) -> None:
        """Release the memory, and unregister it at the server."""
        if self._handle is None:
            return
        with suppress(Exception):  # of a server that has ended, in one of many types
            self._client.unregister_system_shared_memory(self._name, headers=self._headers)
        shared_memory.destroy_shared_memory_region(self._handle)
        self._handle, self._bytes = None, 0

    def _grown(self, size: int) -> bool:
        """Whether the memory now has this size, and the server has it."""
        self.close()
        try:
            _check_room(size)
            self._handle = shared_memory.create_shared_memory_region(self._name, f"/{self._name}", size)
            self._client.register_system_shared_memory(self._name, f"/{self._name}", size, headers=self._headers)
        except (InferenceServerException, OSError, shared_memory.SharedMemoryException):
            self.close()
            if not self._least:
                raise
            self._refused = True
            return False
        self._bytes = size
        return True


def _check_room(size: int) -> None:
    """Raise OSError where the memory's file system is too full: writing to it would kill the process."""
    if shutil.disk_usage("/dev/shm").free < size:
        raise OSError(f"/dev/shm has no room for {size} bytes")
