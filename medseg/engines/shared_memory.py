"""Shared memory: inputs that a server on this machine reads where they lie, instead of through a connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from tritonclient.utils import shared_memory

from medseg.task import Array

_ALIGN = 64  # bytes; what a tensor's start must be a multiple of for vector instructions


class SharedInputs:
    """A piece of system shared memory for one thread's inputs, as large as its largest request."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._name = f"medseg-{uuid4().hex[:12]}"
        self._handle: Any = None
        self._bytes = 0

    def hold(self, inputs: Sequence[tuple[Any, Array]]) -> None:
        """Copy each array into the memory and point its wire (tritonclient's InferInput) there."""
        sizes = [-(-array.nbytes // _ALIGN) * _ALIGN for _, array in inputs]
        if sum(sizes) > self._bytes:
            self._grow(sum(sizes))
        offset = 0
        for (wire, array), size in zip(inputs, sizes, strict=True):
            shared_memory.set_shared_memory_region(self._handle, [array], offset)
            wire.set_shared_memory(self._name, array.nbytes, offset)
            offset += size

    def close(self) -> None:
        """Give the memory back."""
        if self._handle is not None:
            shared_memory.destroy_shared_memory_region(self._handle)
            self._handle, self._bytes = None, 0

    def _grow(self, size: int) -> None:
        if self._handle is not None:
            self._client.unregister_system_shared_memory(self._name)
        self.close()
        self._handle = shared_memory.create_shared_memory_region(self._name, f"/{self._name}", size)
        self._client.register_system_shared_memory(self._name, f"/{self._name}", size)
        self._bytes = size
