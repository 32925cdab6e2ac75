"""The GI tract's inference as named steps: from one encoded MR slice to three masks on the slice's own grid."""

from __future__ import annotations

import numpy as np

from medseg.data import rle
from medseg.data.decoding import decoder, prepared
from medseg.data.encoded import GREY16, MAX_BYTES, MAX_SIDE, check, pack, portable, too_large
from medseg.data.grid import png, probability, resized
from medseg.data.numpy_or_torch import as_uint8, host
from medseg.errors import InputError
from medseg.task import Array, Decode, Networks, Pipeline, Step, Tensor, Tensors
from medseg.tasks.gi_tract.networks import GI_TRACT
from medseg.tasks.on_request import requested, requested_tensor

SIZE = (GI_TRACT.input_shape[1], GI_TRACT.input_shape[2])
DECODE = Decode(GREY16, "input", SIZE, "maximum", called="slice")


def checked(tensors: Tensors, _: Networks) -> Tensors:
    """Step 1: `encoded` (1,) bytes to `packed` (1, bytes) uint8 and its `size` (1, 2): height, width in pixels.

    Raises InputError where it is not exactly one complete 16-bit grey PNG.
    """
    encoded = tensors["encoded"].ravel()
    if len(encoded) != 1:
        raise InputError(f"tensor 'encoded' holds {len(encoded)} pictures; expected 1 slice per request")
    size = check(encoded[0], GREY16, "slice")
    return {"packed": pack([portable(encoded[0], GREY16, "slice")]), "size": np.array([size], np.int32)}


def prepare(picture: Array) -> Array:
    """The network's input (3, 224, 224) float32 from a slice (h, w) uint16: three equal planes of value / maximum."""
    return prepared(picture, DECODE)


def answer(tensors: Tensors, _: Networks) -> Tensors:
    """The last step: `logits` (1, 3, 224, 224) to masks on the slice's grid, and to the other outputs that are wanted.

    `mask` (3, h, w) uint8 0/1: large bowel, small bowel, stomach, which may overlap; `rle` (3,) the competition's text;
    `mask_png` (1,) an RGB PNG with one class per channel; `probability` (3, h, w) uint8, 255 is certain.
    """
    height, width = tensors["size"][0].tolist()
    logits = resized(tensors["logits"][0], (height, width))
    mask = as_uint8(logits > 0)
    offers = {
        "mask": lambda: mask,
        "rle": lambda: np.array([rle.encode(organ).encode() for organ in host(mask)], object),
        "mask_png": lambda: np.array([png(host(mask).transpose(1, 2, 0) * np.uint8(255))], object),
        "probability": lambda: probability(logits),
    }
    return requested(offers, tensors)


_OUTPUTS = ("mask", "rle", "mask_png", "probability")

PIPELINE = Pipeline(
    tensors=(
        Tensor("encoded", "bytes", (1,)),
        Tensor("packed", "uint8", (1, -1), limit=MAX_BYTES),
        Tensor("size", "int32", (1, 2), values=(1, MAX_SIDE), problem=too_large),
        Tensor("input", "float32", (1, *GI_TRACT.input_shape)),
        Tensor("logits", "float32", (1, *GI_TRACT.output_shape)),
        requested_tensor(_OUTPUTS),
        Tensor("mask", "uint8", (3, -1, -1), limit=MAX_SIDE),
        Tensor("rle", "bytes", (3,), optional=True),
        Tensor("mask_png", "bytes", (1,), optional=True),
        Tensor("probability", "uint8", (3, -1, -1), optional=True, limit=MAX_SIDE),
    ),
    inputs=("encoded", "wanted"),
    steps=(
        # `wanted` goes to the first step too, so that an unknown output is refused at once.
        Step("check", checked, ("encoded", "wanted"), ("packed", "size")),
        Step("decode", decoder(DECODE), ("packed",), ("input",)),
        Step("segment", GI_TRACT.name, ("input",), ("logits",)),
        Step("answer", answer, ("logits", "size", "wanted"), _OUTPUTS, takes_torch=True),
    ),
    outputs=_OUTPUTS,
    networks=(GI_TRACT,),
)
