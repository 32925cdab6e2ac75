"""The `decode` step of each task's pipeline as a DALI definition: the same on a CPU and, as `mixed`, on a GPU.

The step's plain function in medseg/tasks is the reference; docs/dali.md states how far the two may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from nvidia.dali import fn
from nvidia.dali import math as dali_math
from nvidia.dali.pipeline import Pipeline as DaliPipeline
from nvidia.dali.types import DALIDataType, DALIImageType, DALIInterpType

from medseg.data.encoded import GREY16, RGB, Kind, check_total, declared, pack, portable
from medseg.data.grid import png
from medseg.errors import InputError
from medseg.task import Array, Networks, Tensors
from medseg.tasks.gi_tract import pipeline as gi_tract_pipeline
from medseg.tasks.stas import pipeline as stas_pipeline

Node = Any  # nvidia.dali.data_node.DataNode
BATCH = 32
DECODERS = {"cpu": "cpu", "gpu": "mixed"}  # a JPEG's bytes start on the CPU and its pixels end on the GPU: "mixed"


def gi_tract(packed: Node, device: str) -> Node:
    """`input` (3, 224, 224) float32 of a 16-bit grey PNG: divided by its maximum, thrice the same channel."""
    picture = grey16(packed, device)
    channel = planes(resized(picture, gi_tract_pipeline.SIZE), 0.0, brightest(picture), device)
    return fn.cat(channel, channel, channel, axis=0)


def stas(packed: Node, device: str) -> Node:
    """`input` (3, 800, 800) float32 of an RGB picture: its darkest value 0, its brightest 1."""
    picture = rgb(packed, device)
    return planes(resized(picture, stas_pipeline.SIZE), *range_of(picture), device)


def brain_lgg(packed: Node, device: str) -> Node:
    """One slice (h, w, 3) uint8 of the `volume`. What follows needs the whole volume, so it is not DALI's."""
    return rgb(packed, device)


def grey16(packed: Node, device: str) -> Node:
    """A picture (h, w, 1) uint16, every bit as it is stored."""
    kind: dict[str, Any] = {"output_type": DALIImageType.ANY_DATA, "dtype": DALIDataType.UINT16}
    return fn.decoders.image(packed, device=DECODERS[device], adjust_orientation=False, **kind)


def rgb(packed: Node, device: str) -> Node:
    """A picture (h, w, 3) uint8, which `check` made upright; chroma interpolated as Pillow and OpenCV do."""
    return fn.decoders.image(
        packed,
        device=DECODERS[device],
        output_type=DALIImageType.RGB,
        adjust_orientation=False,
        jpeg_fancy_upsampling=True,
    )


def resized(picture: Node, size: Sequence[int]) -> Node:
    """Bilinear with half-pixel centres and no antialiasing, as medseg.data.grid."""
    return fn.resize(
        picture, size=size, interp_type=DALIInterpType.INTERP_LINEAR, antialias=False, dtype=DALIDataType.FLOAT
    )


def planes(picture: Node, darkest: Any, spread: Any, device: str) -> Node:
    """A picture (h, w, c) as planes (c, h, w) float32 with `darkest` at 0 and `spread` above it at 1."""
    if device == "gpu":  # where the one-pass operator takes no mean that was computed on the GPU
        return fn.transpose((picture - darkest) / spread, perm=[2, 0, 1])
    how: dict[str, Any] = {"output_layout": "CHW", "dtype": DALIDataType.FLOAT}
    return fn.crop_mirror_normalize(picture, mean=darkest, std=spread, **how)


def brightest(picture: Node) -> Node:
    """The picture's maximum as float32, 1 for a black one: a divisor."""
    return dali_math.max(as_float(fn.reductions.max(picture)), 1.0)


def range_of(picture: Node) -> tuple[Node, Node]:
    """The picture's darkest value, and how far its brightest lies above it, 1 for an even picture; float32."""
    darkest = as_float(fn.reductions.min(picture))
    return darkest, dali_math.max(as_float(fn.reductions.max(picture)) - darkest, 1.0)


def as_float(value: Node) -> Node:
    """The same value as float32."""
    return fn.cast(value, dtype=DALIDataType.FLOAT)


@dataclass(frozen=True)
class Definition:
    """A task's decode step: what makes it of which kind of picture, and which tensor of the task's pipeline it is."""

    make: Callable[[Node, str], Node]
    kind: Kind
    output: str
    dtype: Any
    ndim: int = 3  # without the batch axis
    most: int = 1  # pictures of a request


DEFINITIONS = {
    "gi-tract": Definition(gi_tract, GREY16, "input", DALIDataType.FLOAT),
    "brain-lgg": Definition(brain_lgg, RGB, "volume", DALIDataType.UINT8, most=1024),
    "stas": Definition(stas, RGB, "input", DALIDataType.FLOAT),
}


def decode_pipeline(task: str, device: str = "cpu", device_id: int | None = None, threads: int = 2) -> DaliPipeline:
    """A DALI pipeline from `packed`, a batch of encoded pictures as uint8 vectors, to the task's decoded tensor.

    Input and output are named as the task's step names them, so that Triton's `dali` backend can serve it as that step.
    Without a device id a definition for `gpu` can be serialized, but not run.
    """
    definition = DEFINITIONS[task]
    kinds = {"output_dtype": [definition.dtype], "output_ndim": [definition.ndim]}
    pipeline = DaliPipeline(BATCH, threads, device_id, prefetch_queue_depth=1, **kinds)
    with pipeline:
        packed = fn.external_source(name="packed", dtype=DALIDataType.UINT8, ndim=1)
        pipeline.set_outputs(fn.copy(definition.make(packed, device), name=definition.output))
    return pipeline


def serialize(task: str, device: str) -> bytes:
    """The definition as the `model.dali` of Triton's `dali` backend. Needs no GPU, also for `gpu`."""
    return bytes(decode_pipeline(task, device).serialize())


class Decoder:
    """A task's `decode` step by DALI, to be called in place of the task's own function."""

    def __init__(self, task: str, device: str = "cpu", threads: int = 2) -> None:
        self._build = partial(decode_pipeline, task, device, 0 if device == "gpu" else None, threads)
        self._kind, self._output = DEFINITIONS[task].kind, DEFINITIONS[task].output
        self._pipeline = self._build()
        self._run(pack([_tiny(self._kind)]))  # the first run is slow: now, not for somebody who waits

    def __call__(self, tensors: Tensors, _: Networks | None = None) -> Tensors:
        """The decoded tensor of `packed` (n, bytes) uint8. Raises InputError naming the picture that is damaged.

        Sizes are looked at before: DALI would allocate whatever a header says.
        """
        packed = tensors["packed"]
        files = {f"picture {index}": row.tobytes() for index, row in enumerate(packed)}
        check_total([declared(data, self._kind, name) for name, data in files.items()])
        same = [portable(data, self._kind, name) for name, data in files.items()]  # where `check` was left out
        if any(one is not data for one, data in zip(same, files.values(), strict=True)):
            packed = pack(same)
        parts = [self._decode(packed, first) for first in range(0, len(packed), BATCH)]
        return {self._output: parts[0] if len(parts) == 1 else np.concatenate(parts)}

    def _decode(self, packed: Array, first: int) -> Array:
        """BATCH pictures from `first` on; where they fail, each alone, to find the one that is damaged."""
        rows = packed[first : first + BATCH]
        try:
            return self._run(rows)
        except RuntimeError:
            return np.concatenate([self._alone(row, first + index) for index, row in enumerate(rows)])

    def _alone(self, row: Array, index: int) -> Array:
        try:
            return self._run(row[np.newaxis])
        except RuntimeError as error:
            raise InputError(f"picture {index} cannot be decoded ({_reason(error)}); expected a whole file") from error

    def _run(self, rows: Array) -> Array:
        try:
            self._pipeline.feed_input("packed", list(rows))
            (batch,) = self._pipeline.run()
        except RuntimeError:
            self._pipeline = self._build()  # one bad sample makes DALI refuse every later batch: "no longer valid"
            raise
        return np.array(batch.as_cpu().as_array())


def _tiny(kind: Kind) -> bytes:
    """A picture of this kind, of two pixels by two."""
    pixels = np.zeros((2, 2), np.uint16) if kind.mode == "I;16" else np.zeros((2, 2, 3), np.uint8)
    return png(pixels)


def _reason(error: RuntimeError) -> str:
    """The line of DALI's message that says what was wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next(
        (line for line in lines if "rror" in line and "operator" not in line), lines[0] if lines else "no reason given"
    )
