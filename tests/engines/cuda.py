"""Stand-ins for NVIDIA's driver, its management library and the CUDA runtime: what they do with memory is done here.

The runtime's device memory is this process's: what is copied to it can be read, what is freed twice or never is found,
and a stream does what it was told only when it is waited for.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

DEVICES = {"0": ("sm89", bytes(range(16))), "1": ("sm90", bytes(range(16, 32)))}


def driver(visible: tuple[str, ...] = ("0",), version: int = 13000) -> SimpleNamespace:
    """The driver's library with these GPUs visible, in this order, as CUDA_VISIBLE_DEVICES would have them."""

    def written(out: Any, value: int) -> int:
        out._obj.value = value
        return 0

    def uuid(out: Any, device: int) -> int:
        ctypes.memmove(out._obj, DEVICES[visible[device]][1], 16)
        return 0

    def attribute(out: Any, which: int, device: int) -> int:
        capability = int(DEVICES[visible[device]][0].removeprefix("sm"))
        return written(out, {75: capability // 10, 76: capability % 10}[which])

    return SimpleNamespace(
        cuInit=lambda flags: 0 if visible else 100,
        cuDeviceGetCount=lambda out: written(out, len(visible)),
        cuDeviceGet=lambda out, number: written(out, number),
        cuDeviceGetAttribute=attribute,
        cuDeviceGetUuid_v2=uuid,
        cuDriverGetVersion=lambda out: written(out, version),
    )


class Runtime:
    """cuda.bindings.runtime: every call answers a tuple that starts with its error code."""

    def __init__(self, capturable: bool = True) -> None:
        self.capturable = capturable
        self.memory: dict[int, Any] = {}  # that is held now, by its address
        self.streams: dict[int, list[Callable[[], None]]] = {}  # and what each has still to do
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.recording: dict[int, list[Callable[[], None]]] = {}
        self.calls: list[str] = []
        self._next = 0
        self.__dict__["cudaMemcpyKind"] = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
        self.__dict__["cudaStreamCaptureMode"] = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        """CUDA's cudaMemcpyAsync is _memcpy_async here."""
        work = object.__getattribute__(self, re.sub("([A-Z])", r"_\1", name.removeprefix("cuda")).lower())

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append(name)
            return work(*arguments)

        return call

    def _number(self) -> int:
        self._next += 1
        return self._next

    def queue(self, stream: int, work: Callable[[], None]) -> None:
        """What a stream does when it is waited for, or what its capture records."""
        self.recording.get(stream, self.streams[stream]).append(work)

    def _malloc(self, size: int) -> tuple[Any, ...]:
        held = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(held)] = held
        return _DONE, ctypes.addressof(held)

    _malloc_host = _malloc

    def _free(self, address: int) -> tuple[Any, ...]:
        del self.memory[address]
        return (_DONE,)

    _free_host = _free

    def _stream_create(self) -> tuple[Any, ...]:
        stream = self._number()
        self.streams[stream] = []
        return _DONE, stream

    def _stream_destroy(self, stream: int) -> tuple[Any, ...]:
        del self.streams[stream]
        return (_DONE,)

    def _memcpy_async(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[Any, ...]:
        self.queue(stream, lambda: ctypes.memmove(to, source, size))
        return (_DONE,)

    def _stream_synchronize(self, stream: int) -> tuple[Any, ...]:
        for work in self.streams[stream]:
            work()
        self.streams[stream].clear()
        return (_DONE,)

    def _stream_begin_capture(self, stream: int, mode: int) -> tuple[Any, ...]:
        self.recording[stream] = []
        return (_DONE,)

    def _stream_end_capture(self, stream: int) -> tuple[Any, ...]:
        recorded = self.recording.pop(stream)
        if not self.capturable:
            return SimpleNamespace(value=900, name="cudaErrorStreamCaptureUnsupported"), None
        graph = self._number()
        self.graphs[graph] = recorded
        return _DONE, graph

    def _graph_instantiate(self, graph: int, flags: int) -> tuple[Any, ...]:
        ready = self._number()
        self.graphs[ready] = self.graphs[graph]
        return _DONE, ready

    def _graph_destroy(self, graph: int) -> tuple[Any, ...]:
        del self.graphs[graph]
        return (_DONE,)

    _graph_exec_destroy = _graph_destroy

    def _graph_launch(self, graph: int, stream: int) -> tuple[Any, ...]:
        for work in self.graphs[graph]:
            self.queue(stream, work)
        return (_DONE,)


_DONE = SimpleNamespace(value=0, name="cudaSuccess")


class Context:
    """An execution context of an engine that doubles its input; `refuses` names a call that it does not accept."""

    def __init__(self, cuda: Runtime, profile: int = 0, refuses: str = "") -> None:
        self.cuda, self.active_optimization_profile, self.refuses = cuda, profile, refuses
        self.shape: tuple[int, ...] = ()
        self.places: dict[str, int] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.active_optimization_profile = profile
        return self.refuses != "profile"

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = shape
        return self.refuses != "shape"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.places[name] = address
        return self.refuses != name

    def execute_async_v3(self, stream: int) -> bool:
        count, places = math.prod(self.shape), dict(self.places)

        def work() -> None:
            taken, made = ((ctypes.c_float * count).from_address(places[name]) for name in ("input", "output"))
            made[:] = [2 * value for value in taken]

        self.cuda.queue(stream, work)
        return self.refuses != "execute"
