"""A Decode record as a DALI definition: the same on a CPU and, as `mixed`, on a GPU.

The plain function of medseg/data/decoding.py is the reference; docs/dali.md states how far the two may differ.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from nvidia.dali import fn
from nvidia.dali import math as dali_math
from nvidia.dali.pipeline import Pipeline as DaliPipeline
from nvidia.dali.types import DALIDataType, DALIImageType, DALIInterpType

from medseg.data.decoding import files_of, largest_value
from medseg.data.encoded import pack, portable
from medseg.data.grid import png
from medseg.errors import InputError
from medseg.task import Array, Decode, Networks, Tensors

Node = Any  # nvidia.dali.data_node.DataNode
BATCH = 32
_LARGE = 8 << 20  # pixels of a request, after which DALI's buffers are too large to be kept for the next ones
DECODERS = {"cpu": "cpu", "gpu": "mixed"}  # a JPEG's bytes start on the CPU and its pixels end on the GPU: "mixed"


def decoded(packed: Node, how: Decode, device: str) -> Node:
    """What the record makes of one encoded picture: pixels (h, w, c), or planes (channels, *size) float32."""
    picture = pixels(packed, how, device)
    if how.size is None:
        return picture
    return normalised(planes(resized(picture, how.size), *ends(picture, how), device), how, grow=True)


def pixels(packed: Node, how: Decode, device: str) -> Node:
    """A picture (h, w, 3) uint8, or (h, w, c) with every bit as it is stored; `check` made it upright."""
    if how.kind.mode == "RGB":
        return rgb(packed, device)
    dtype = DALIDataType.UINT16 if largest_value(how) > 255 else DALIDataType.UINT8
    kind: dict[str, Any] = {"output_type": DALIImageType.ANY_DATA, "dtype": dtype}
    return fn.decoders.image(packed, device=DECODERS[device], adjust_orientation=False, **kind)


def rgb(packed: Node, device: str) -> Node:
    """A picture (h, w, 3) uint8; chroma interpolated as Pillow and OpenCV do."""
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


def normalised(picture: Node, how: Decode, grow: bool) -> Node:
    """Planes less their means and divided by their deviations; a grey one thrice, where needed or to `grow`."""
    if _is_grey(how) and how.channels > 1 and (grow or how.mean):
        picture = fn.cat(*[picture] * how.channels, axis=0)
    if not how.mean:
        return picture
    kind: dict[str, Any] = {"output_layout": "CHW", "dtype": DALIDataType.FLOAT}
    return fn.crop_mirror_normalize(picture, mean=list(how.mean), std=list(how.std), **kind)


def ends(picture: Node, how: Decode) -> tuple[Any, Any]:
    """What becomes 0, and how far above it lies what becomes 1, never 0 itself; float32."""
    if how.scaled == "range":
        darkest = as_float(fn.reductions.min(picture))
        return darkest, dali_math.max(as_float(fn.reductions.max(picture)) - darkest, 1.0)
    if how.scaled == "maximum":
        return 0.0, dali_math.max(as_float(fn.reductions.max(picture)), 1.0)
    return 0.0, float(largest_value(how)) if how.scaled == "bits" else 1.0


def as_float(value: Node) -> Node:
    """The same value as float32."""
    return fn.cast(value, dtype=DALIDataType.FLOAT)


def decode_pipeline(how: Decode, device: str = "cpu", device_id: int | None = None, threads: int = 2) -> DaliPipeline:
    """A DALI pipeline from `packed`, a batch of encoded pictures as uint8 vectors, to the record's output.

    Input and output are named as the task's step names them, so that Triton's `dali` backend can serve it as that step.
    Without a device id a definition for `gpu` can be serialized, but not run.
    """
    kinds = {"output_dtype": [_dtype(how)], "output_ndim": [3]}  # without the batch axis
    pipeline = DaliPipeline(BATCH, threads, device_id, prefetch_queue_depth=1, **kinds)
    with pipeline:
        packed = fn.external_source(name="packed", dtype=DALIDataType.UINT8, ndim=1)
        pipeline.set_outputs(fn.copy(decoded(packed, how, device), name=how.output))
    return pipeline


def serialize(how: Decode, device: str) -> bytes:
    """The definition as the `model.dali` of Triton's `dali` backend. Needs no GPU, also for `gpu`."""
    return bytes(decode_pipeline(how, device).serialize())


class Decoder:
    """A step that a Decode record describes, by DALI, to be called in place of the task's own function."""

    def __init__(self, how: Decode, device: str = "cpu", threads: int = 2) -> None:
        self._build = partial(decode_pipeline, how, device, 0 if device == "gpu" else None, threads)
        self._how = how
        self._begin()

    def _begin(self) -> None:
        """A new pipeline, run once: the first run is slow, so now, and not for somebody who waits."""
        self._pipeline = self._build()
        self._run(pack([_tiny(self._how)]))

    def __call__(self, tensors: Tensors, _: Networks | None = None) -> Tensors:
        """The decoded tensor of `packed` (n, bytes) uint8. Raises InputError naming the picture that is damaged.

        Sizes are looked at before: DALI would allocate whatever a header says.
        """
        packed = tensors["packed"]
        files, pixels = files_of(packed, self._how)
        same = [portable(data, self._how.kind, name) for name, data in files.items()]  # where `check` was left out
        if any(one is not data for one, data in zip(same, files.values(), strict=True)):
            packed = pack(same)
        names = list(files)
        starts = range(0, len(packed), BATCH)
        parts = [self._decode(packed[first : first + BATCH], names[first : first + BATCH]) for first in starts]
        if pixels > _LARGE:
            gc.unfreeze()  # the pipeline refers to itself: a server that froze what it began with would keep it
            self._begin()
        return {self._how.output: parts[0] if len(parts) == 1 else np.concatenate(parts)}

    def _decode(self, rows: Array, names: Sequence[str]) -> Array:
        """At most BATCH pictures; where they fail, each alone, to find the one that is damaged."""
        try:
            return self._run(rows)
        except RuntimeError:
            return np.concatenate([self._alone(row, name) for row, name in zip(rows, names, strict=True)])

    def _alone(self, row: Array, name: str) -> Array:
        try:
            return self._run(row[np.newaxis])
        except RuntimeError as error:
            raise InputError(f"{name} cannot be decoded ({_reason(error)}); expected a whole file") from error

    def _run(self, rows: Array) -> Array:
        try:
            self._pipeline.feed_input("packed", list(rows))
            (batch,) = self._pipeline.run()
        except RuntimeError:
            self._pipeline = self._build()  # one bad sample makes DALI refuse every later batch: "no longer valid"
            raise
        return np.array(batch.as_cpu().as_array())


def _tiny(how: Decode) -> bytes:
    """A picture of this kind, of two pixels by two."""
    shape = (2, 2) if _is_grey(how) else (2, 2, 3)
    return png(np.zeros(shape, np.uint16 if largest_value(how) > 255 else np.uint8))


def _is_grey(how: Decode) -> bool:
    return not how.kind.mode.startswith("RGB")


def _dtype(how: Decode) -> Any:
    if how.size is not None:
        return DALIDataType.FLOAT
    return DALIDataType.UINT16 if largest_value(how) > 255 else DALIDataType.UINT8


def _reason(error: RuntimeError) -> str:
    """The line of DALI's message that says what was wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next(
        (line for line in lines if "rror" in line and "operator" not in line), lines[0] if lines else "no reason given"
    )
