"""What each call to a TensorRT engine needs, made once and lent to one call at a time.

A lane is a context, a stream, and one piece of memory on either side: pinned on the host, so that copies are as fast as
the bus and the stream does not wait for them. Calls from several threads run on the GPU at the same time, each in its
own lane.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import LifoQueue
from threading import Lock
from typing import Any

import numpy as np

from medseg.engines.gpu import checked
from medseg.errors import EngineError
from medseg.task import Array

_ALIGNED = 256  # bytes, as the GPU reads


class Lane:
    """One context. Where `graphs` are wanted, a shape that comes again is recorded as a CUDA graph and only launched.

    A graph knows the shape and the memory that it was recorded with, so a lane keeps that of its last shape alone.
    """

    def __init__(self, context: Any, graphs: bool) -> None:
        from cuda.bindings import runtime

        if context is None:
            raise EngineError(
                "the engine cannot create a context; expected enough room on the GPU: free some of its memory"
            )
        self._cuda, self._context, self._graphs = runtime, context, graphs
        self._shape: tuple[int, ...] = ()
        self._held: tuple[int, int, int] = (0, 0, 0)  # bytes of either side, their address on the GPU and on the host
        self._graph: Any = None
        self._stream = checked(runtime.cudaStreamCreate())
        if context.active_optimization_profile != 0:  # only the first context of an engine begins with one
            _told(context.set_optimization_profile_async(0, self._stream), "no second context on its profile")

    def __call__(self, batch: Array) -> Array:
        """(n, *input_shape) float32 -> (n, *output_shape) float32, in memory of its own."""
        again = batch.shape == self._shape
        if not again:
            self._take(batch.shape)
        np.copyto(self._input, batch)
        try:
            self._start(again)
            checked(self._cuda.cudaStreamSynchronize(self._stream))
        except EngineError:
            self._shape = ()  # the next call begins anew
            raise
        return self._output.copy()

    def close(self) -> None:
        """Give back memory and stream."""
        self._drop_graph()
        self._release()
        self._cuda.cudaStreamDestroy(self._stream)
        self._context = None

    def _take(self, shape: tuple[int, ...]) -> None:
        """Make ready for batches of this shape."""
        self._drop_graph()
        self._shape = ()
        _told(self._context.set_input_shape("input", shape), f"no input of shape {shape}")
        answer = tuple(self._context.get_tensor_shape("output"))
        _told(min(answer, default=0) >= 0, f"no input of shape {shape}")
        sizes = [4 * int(np.prod(one)) for one in (shape, answer)]
        start = -(-sizes[0] // _ALIGNED) * _ALIGNED
        self._hold(start + sizes[1])
        _, device, host = self._held
        _told(self._context.set_tensor_address("input", device), "no memory for its input")
        _told(self._context.set_tensor_address("output", device + start), "no memory for its output")
        self._input, self._output = _at(host, shape), _at(host + start, answer)
        self._copies = ((device, host, sizes[0]), (host + start, device + start, sizes[1]))
        self._shape = shape

    def _hold(self, size: int) -> None:
        """At least so many bytes on either side, in one piece each."""
        if self._held[0] >= size:
            return
        self._release()
        device = checked(self._cuda.cudaMalloc(size))
        try:
            self._held = (size, device, checked(self._cuda.cudaMallocHost(size)))
        except EngineError:
            self._cuda.cudaFree(device)
            raise

    def _release(self) -> None:
        size, device, host = self._held
        if size:
            self._held = (0, 0, 0)
            self._cuda.cudaFree(device)
            self._cuda.cudaFreeHost(host)

    def _start(self, again: bool) -> None:
        """Put the work on the stream: as a graph, where this shape was computed before."""
        if self._graphs and again and self._graph is None:
            self._record()
        if self._graph is None:
            self._enqueue()
        else:
            checked(self._cuda.cudaGraphLaunch(self._graph, self._stream))

    def _enqueue(self) -> None:
        to_device, to_host = self._copies
        kinds = self._cuda.cudaMemcpyKind
        checked(self._cuda.cudaMemcpyAsync(*to_device, kinds.cudaMemcpyHostToDevice, self._stream))
        _told(self._context.execute_async_v3(self._stream), f"no answer to a batch of shape {self._shape}")
        checked(self._cuda.cudaMemcpyAsync(*to_host, kinds.cudaMemcpyDeviceToHost, self._stream))

    def _record(self) -> None:
        """Record the work as a graph; an engine that does something which cannot be recorded goes on without."""
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        checked(self._cuda.cudaStreamBeginCapture(self._stream, mode))
        try:
            self._enqueue()
        except EngineError:
            self._graphs = False
        error, graph = self._cuda.cudaStreamEndCapture(self._stream)
        if error.value or not self._graphs:
            self._graphs = False
            return
        self._graph = checked(self._cuda.cudaGraphInstantiate(graph, 0))
        self._cuda.cudaGraphDestroy(graph)

    def _drop_graph(self) -> None:
        if self._graph is not None:
            self._cuda.cudaGraphExecDestroy(self._graph)
            self._graph = None


class Lanes:
    """At most so many lanes, each made when a call finds none free; where there is room for no further, calls wait."""

    def __init__(self, make: Callable[[], Lane], most: int) -> None:
        self._make, self._most = make, most
        self._made = [make()]
        self._free = LifoQueue[Lane]()  # the one that was used last is warm
        self._free.put(self._made[0])
        self._lock = Lock()

    @contextmanager
    def one(self) -> Iterator[Lane]:
        """A lane that no other call has."""
        lane = self._taken()
        try:
            yield lane
        finally:
            self._free.put(lane)

    def close(self) -> None:
        """Close them all, those first that are at work no longer."""
        while self._made:
            lane = self._free.get()
            self._made.remove(lane)
            lane.close()

    def _taken(self) -> Lane:
        with self._lock:
            if self._free.empty() and len(self._made) < self._most:
                try:
                    self._made.append(self._make())
                    return self._made[-1]
                except EngineError:
                    self._most = len(self._made)  # the GPU's memory is full
        return self._free.get()


def _at(address: int, shape: tuple[int, ...]) -> Array:
    """The float32 array of this shape that lies at an address."""
    numbers = (ctypes.c_float * int(np.prod(shape))).from_address(address)
    return np.ctypeslib.as_array(numbers).reshape(shape)


def _told(accepted: bool, what: str) -> None:
    """Raises EngineError where TensorRT did not accept a setting."""
    if not accepted:
        raise EngineError(f"the engine takes {what}; its log above says why: build it again")
