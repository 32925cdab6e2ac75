"""The brain tumour's inference as named steps: from a volume's encoded slices to its mask on the slices' own grid."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from array_api_compat import array_namespace, device

from medseg.data.decoding import decoder, names_of
from medseg.data.encoded import (
    MAX_BYTES,
    MAX_PIXELS,
    MAX_SIDE,
    RGB,
    check,
    check_total,
    pack,
    portable,
    too_large,
)
from medseg.data.grid import png, probability, resized
from medseg.data.numpy_or_torch import host, joined
from medseg.errors import InputError
from medseg.metrics.components import largest
from medseg.task import Array, Decode, Networks, Pipeline, Step, Tensor, Tensors
from medseg.tasks.brain_lgg.networks import BRAIN_LGG
from medseg.tasks.brain_lgg.prepare import Frame, prepare
from medseg.tasks.on_request import requested, requested_tensor
from medseg.tasks.streaming import answers

BATCH = 2  # slices per network call: few, so that no core is idle for long at the end of a volume
_FACES: Literal[6] = 6  # voxels that share a face are connected, as in the reference's evaluation
_SLICES = 1024
_BACKGROUND = -30.0  # the logit outside of the brain, which the network does not get
DECODE = Decode(RGB, "volume", most=_SLICES, called="slice")  # without a size: the next step needs the whole volume


def checked(tensors: Tensors, _: Networks) -> Tensors:
    """Step 1: `encoded` (n,) bytes to `packed` (n, bytes) uint8 and the slices' `size` (n, 2): height, width in pixels.

    Raises InputError, with the slice's number from 1, where a slice is not a complete RGB picture or not of the first
    one's size; and where all have too many pixels together.
    """
    encoded = tensors["encoded"].ravel()
    if len(encoded) == 0:
        raise InputError("tensor 'encoded' holds no slices; expected a volume's slices in order")
    names = names_of(DECODE, len(encoded))
    sizes = [check(data, RGB, name) for name, data in zip(names, encoded, strict=True)]
    check_total(sizes, "slices")
    for name, size in zip(names, sizes, strict=True):
        if size != sizes[0]:
            first = f"{sizes[0][0]} x {sizes[0][1]} like {names[0]}"
            raise InputError(f"{name} is {size[0]} x {size[1]}; expected {first}")
    same = [portable(data, RGB, name) for name, data in zip(names, encoded, strict=True)]
    return {"packed": pack(same), "size": np.array(sizes, np.int32)}


def normalised(tensors: Tensors, _: Networks) -> Tensors:
    """Step 3: `volume` to `input` (slices in the brain, 3, 256, 256) float32, and the `frame` that tells its place."""
    image, frame = prepare(tensors["volume"])
    return {"input": image, "frame": _numbers(frame)}


def segment(tensors: Tensors, networks: Networks) -> Tensors:
    """Step 4: `input` to `logits` (slices in the brain, 1, 256, 256) float32; several network calls run at a time."""
    image = tensors["input"]
    batches = (image[first : first + BATCH] for first in range(0, len(image), BATCH))
    return {"logits": joined([*answers(networks(BRAIN_LGG.name), batches)])}


def answer(tensors: Tensors, _: Networks) -> Tensors:
    """The last step: `logits` to the tumour's mask on the slices' own grid, and to the other outputs that are wanted.

    `mask` (n, h, w) uint8 0/1, only its largest connected piece; `mask_png` (n,) PNGs of 0/255; `probability` (n, h, w)
    uint8, 255 is certain, with all pieces.
    """
    logits = restored(tensors["logits"][:, 0], _frame(tensors["frame"], len(tensors["logits"])))
    mask = largest(host(logits > 0))
    offers = {
        "mask": lambda: mask,
        "mask_png": lambda: np.array([png(one * np.uint8(255)) for one in mask], object),
        "probability": lambda: probability(logits),
    }
    return requested(offers, tensors)


def restored(logits: Array, frame: Frame) -> Array:
    """Logits (slices in the brain, size, size) on the volume's own grid, (n, h, w) float32; background elsewhere."""
    square = resized(logits, (frame.side, frame.side))
    rows, columns = (
        slice(low, low + part.stop - part.start) for low, part in zip(frame.before[1:], frame.brain[1:], strict=True)
    )
    volume: Array = array_namespace(logits).full(frame.shape, _BACKGROUND, dtype=logits.dtype, device=device(logits))
    volume[frame.brain] = square[:, rows, columns]
    return volume


def _numbers(frame: Frame) -> Array:
    """A frame as (13,) int32: shape, starts of the brain, stops of the brain, padding before it, side."""
    starts, stops = [part.start for part in frame.brain], [part.stop for part in frame.brain]
    return np.array([*frame.shape, *starts, *stops, *frame.before, frame.side], np.int32)


def _frame(numbers: Array, slices: int) -> Frame:
    """The frame of this many slices in the brain. Clients may send it, so wrong numbers raise InputError.

    In a valid frame, the brain lies inside the volume and the square, and both have at most MAX_PIXELS.
    """
    values = [int(value) for value in numbers]
    shape, starts, stops, before = (values[at : at + 3] for at in (0, 3, 6, 9))
    side = values[12]
    lengths = [stop - start for start, stop in zip(starts, stops, strict=True)]
    fits = (
        all(0 <= start < stop <= size for start, stop, size in zip(starts, stops, shape, strict=True))
        and all(low + length <= side for low, length in zip(before[1:], lengths[1:], strict=True))
        and lengths[0] == slices
        and before[0] == 0
        and math.prod(shape) <= MAX_PIXELS
        and slices * side**2 <= MAX_PIXELS
    )
    if not fits:
        raise InputError(f"tensor 'frame' is {values}; expected what the step `normalise` makes of {slices} slices")
    z, y, x = (slice(start, stop) for start, stop in zip(starts, stops, strict=True))
    return Frame(tuple(shape), (z, y, x), (before[0], before[1], before[2]), side)


_OUTPUTS = ("mask", "mask_png", "probability")
_VOLUME = (_SLICES, MAX_SIDE, MAX_SIDE)

PIPELINE = Pipeline(
    tensors=(
        Tensor("encoded", "bytes", (-1,), limit=_SLICES),
        Tensor("packed", "uint8", (-1, -1), limit=(_SLICES, MAX_BYTES)),
        Tensor("size", "int32", (-1, 2), limit=_SLICES, values=(1, MAX_SIDE), problem=too_large),
        Tensor("volume", "uint8", (-1, -1, -1, 3), limit=(*_VOLUME, 3)),
        Tensor("input", "float32", (-1, *BRAIN_LGG.input_shape), limit=_SLICES),
        Tensor("frame", "int32", (13,), values=(0, MAX_SIDE)),
        Tensor("logits", "float32", (-1, *BRAIN_LGG.output_shape), limit=_SLICES),
        requested_tensor(_OUTPUTS),
        Tensor("mask", "uint8", (-1, -1, -1), limit=_VOLUME),
        Tensor("mask_png", "bytes", (-1,), optional=True, limit=_SLICES),
        Tensor("probability", "uint8", (-1, -1, -1), optional=True, limit=_VOLUME),
    ),
    inputs=("encoded", "wanted"),
    steps=(
        # `wanted` goes to the first step too, so that an unknown output is refused at once.
        Step("check", checked, ("encoded", "wanted"), ("packed", "size")),
        Step("decode", decoder(DECODE), ("packed",), ("volume",)),
        Step("normalise", normalised, ("volume",), ("input", "frame")),
        Step("segment", segment, ("input",), ("logits",), takes_torch=True),
        Step("answer", answer, ("logits", "frame", "wanted"), _OUTPUTS, takes_torch=True),
    ),
    outputs=_OUTPUTS,
    networks=(BRAIN_LGG,),
)
