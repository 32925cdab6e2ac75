"""The inference of a described network as named steps: from one encoded picture to a mask on its own grid."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
from array_api_compat import array_namespace

from medseg.data.decoding import decoder
from medseg.data.encoded import MAX_BYTES, MAX_SIDE, Kind, check, pack, portable
from medseg.data.grid import png
from medseg.data.numpy_or_torch import as_uint8, host
from medseg.errors import InputError
from medseg.task import Array, Decode, Networks, Pipeline, Step, Tensor, Tensors
from medseg.tasks.on_request import requested, requested_tensor
from medseg.tasks.picture.description import Picture
from medseg.tasks.picture.kinds import kind_of
from medseg.tasks.picture.networks import NAME, network
from medseg.tasks.picture.prepare import prepare, restored
from medseg.tasks.picture.statistics import statistics

OUTPUTS = ("mask", "probability", "mask_png", "statistics")


def pipeline(picture: Picture, text: str) -> Pipeline:
    """The pipeline of the described network; `text` is the description's text."""
    described, count = network(picture, text), len(picture.classes)
    kind, channels = kind_of(picture), 1 if picture.colours == "grey" else 3
    grid = tuple(-1 if picture.size.free else side for side in described.input_shape[1:])
    masks = (-1, -1) if picture.softmax else (count, -1, -1)
    return Pipeline(
        tensors=(
            Tensor("encoded", "bytes", (1,)),
            Tensor("packed", "uint8", (1, -1), limit=MAX_BYTES),
            Tensor("size", "int32", (1, 2), values=(1, MAX_SIDE)),
            Tensor("pixels", f"uint{picture.bits}", (1, -1, -1, channels), limit=MAX_SIDE, least=1),
            Tensor("input", "float32", (1, described.input_shape[0], *grid), limit=MAX_SIDE + 256),
            Tensor("logits", "float32", (1, picture.outputs, *grid), limit=MAX_SIDE + 256),
            requested_tensor(OUTPUTS),
            Tensor("mask", "uint8", masks, limit=MAX_SIDE),
            Tensor("probability", "uint8", (count, -1, -1), optional=True, limit=MAX_SIDE),
            Tensor("mask_png", "bytes", (1 if picture.softmax else count,), optional=True),
            Tensor("statistics", "bytes", (1,), optional=True),
        ),
        inputs=("encoded", "wanted"),
        steps=(
            # `wanted` goes to the first step too, so that an unknown output is refused at once.
            Step("check", partial(checked, kind), ("encoded", "wanted"), ("packed", "size")),
            Step("decode", decoder(decode_of(picture)), ("packed",), ("pixels",)),
            Step("prepare", partial(prepared, picture), ("pixels",), ("input",), takes_torch=_takes_torch(picture)),
            Step("segment", NAME, ("input",), ("logits",)),
            Step("answer", partial(answer, picture), ("logits", "size", "wanted"), OUTPUTS, takes_torch=True),
        ),
        outputs=OUTPUTS,
        networks=(described,),
    )


def _takes_torch(picture: Picture) -> bool:
    """Whether `prepare` can run on torch tensors on their device; the mean over areas needs OpenCV."""
    return picture.resampling == "bilinear"


def checked(kind: Kind, tensors: Tensors, _: Networks) -> Tensors:
    """Step 1: `encoded` (1,) bytes to `packed` (1, bytes) uint8 and its `size` (1, 2): height, width in pixels.

    Raises InputError where it is not exactly one complete picture of the described kind.
    """
    encoded = tensors["encoded"].ravel()
    if len(encoded) != 1:
        raise InputError(f"tensor 'encoded' holds {len(encoded)} pictures; expected 1 picture per request")
    size = check(encoded[0], kind)
    return {"packed": pack([portable(encoded[0], kind)]), "size": np.array([size], np.int32)}


def decode_of(picture: Picture) -> Decode:
    """Step 2: `packed` to `pixels` (1, h, w, c) uint8 or uint16, with the stored values."""
    return Decode(kind_of(picture), "pixels", channels=1 if picture.colours == "grey" else 3)


def prepared(picture: Picture, tensors: Tensors, _: Networks) -> Tensors:
    """Step 3: `pixels` to the network's `input` (1, channels, height, width) float32."""
    return {"input": prepare(tensors["pixels"][0], picture)[None]}


def answer(picture: Picture, tensors: Tensors, _: Networks) -> Tensors:
    """The last step: `logits` to a mask on the picture's grid, and to the other outputs that are wanted.

    - `mask` uint8: for softmax (h, w) with the classes' values, for sigmoid (classes, h, w) 0/1.
    - `probability` (classes, h, w) uint8, 255 is certain.
    - `mask_png`: for softmax (1,), a PNG of the values; for sigmoid (classes,), a PNG of 0/255 per class.
    - `statistics` (1,) JSON, see statistics.py.

    Raises InputError where padded logits are smaller than the picture.
    """
    size, logits = _sized(picture, tensors)
    mask = masked(picture, logits, size)
    offers = {
        "mask": lambda: mask,
        "probability": lambda: _percent(restored(probabilities(picture, logits), size, picture)),
        "mask_png": lambda: np.array([png(one) for one in _pictures(picture, host(mask))], object),
        "statistics": lambda: np.array([json.dumps(statistics(picture, host(mask))).encode()], object),
    }
    return requested(offers, tensors)


def _sized(picture: Picture, tensors: Tensors) -> tuple[tuple[int, int], Array]:
    height, width = tensors["size"][0].tolist()
    logits = tensors["logits"][0]
    if picture.size.free and (logits.shape[1] < height or logits.shape[2] < width):
        raise InputError(f"tensor 'logits' has shape {tuple(logits.shape)}; expected at least {height} x {width}")
    return (height, width), logits


def masked(picture: Picture, logits: Array, size: tuple[int, int]) -> Array:
    """The mask on the picture's grid, from logits (outputs, height, width) on the network's grid."""
    if picture.resized_back == "logits":
        return decision(picture, restored(logits, size, picture))
    planes = decision(picture, logits)
    found = restored(planes[None] if picture.softmax else planes, size, picture, nearest=True)
    return found[0] if picture.softmax else found


def decision(picture: Picture, logits: Array) -> Array:
    """Logits (outputs, h, w) as a mask uint8: (h, w) with the classes' values, or (classes, h, w) 0/1."""
    xp = array_namespace(logits)
    if not picture.softmax:
        return as_uint8(logits > logit(picture.shared.threshold))
    place = xp.argmax(logits, axis=0)
    return as_uint8(place)  # the classes' values are the channels' numbers, see medseg/description.py


def logit(probability: float) -> float:
    """The logit of a probability; infinite for 0 and 1."""
    with np.errstate(divide="ignore"):
        return float(np.log(probability) - np.log1p(-probability))


def probabilities(picture: Picture, logits: Array) -> Array:
    """The classes' probabilities (classes, h, w) from logits (outputs, h, w)."""
    xp = array_namespace(logits)
    if not picture.softmax:
        return 1 / (1 + xp.exp(-xp.clip(logits, -30, 30)))
    scores = xp.exp(logits - xp.max(logits, axis=0, keepdims=True))
    found: Array = (scores / xp.sum(scores, axis=0, keepdims=True))[picture.before :]
    return found


def _percent(probability: Array) -> Array:
    """Probabilities as uint8; 255 is certain."""
    return as_uint8(array_namespace(probability).round(255 * probability))


def _pictures(picture: Picture, mask: Array) -> list[Array]:
    """The pictures for PNG: one with the classes' values, or one of 0/255 per class."""
    return [mask] if picture.softmax else [one * np.uint8(255) for one in mask]
