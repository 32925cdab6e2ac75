"""STAS's inference as named steps: one picture in, one decode, three networks side by side, and their majority out."""

from __future__ import annotations

import json

import numpy as np

from medseg.data.encoded import MAX_BYTES, MAX_SIDE, RGB, check, decode, pack
from medseg.data.grid import png, probability, resized
from medseg.data.labelme import labelme_from_mask
from medseg.errors import InputError
from medseg.task import Array, Networks, Pipeline, Step, Tensor, Tensors
from medseg.tasks.stas.networks import NETWORKS
from medseg.tasks.wanted import WANTED, wanted

SIZE = (NETWORKS[0].input_shape[1], NETWORKS[0].input_shape[2])
VOTERS = tuple(network.name for network in NETWORKS)
_LOGITS = tuple(f"{voter.removeprefix('stas-').replace('-', '_')}_logits" for voter in VOTERS)


def checked(tensors: Tensors, _: Networks) -> Tensors:
    """Step 1: `encoded` (1,) bytes to `packed` (1, bytes) uint8 and its `size` (1, 2): height, width in pixels.

    Raises InputError where it is not one whole RGB picture.
    """
    encoded = tensors["encoded"].ravel()
    if len(encoded) != 1:
        raise InputError(f"tensor 'encoded' holds {len(encoded)} pictures; expected 1 picture a request")
    return {"packed": pack([encoded[0]]), "size": np.array([check(encoded[0], RGB)], np.int32)}


def decoded(tensors: Tensors, _: Networks) -> Tensors:
    """Step 2: `packed` to the networks' `input` (1, 3, 800, 800) float32; DALI has the same step."""
    return {"input": prepare(decode(tensors["packed"][0].tobytes(), RGB))[np.newaxis]}


def prepare(picture: Array) -> Array:
    """The networks' input (3, 800, 800) float32 of a picture (h, w, 3) uint8: its darkest value 0, its brightest 1."""
    low, high = int(picture.min()), int(picture.max())
    small = resized(picture.transpose(2, 0, 1).astype(np.float32), SIZE)
    return (small - low) / np.float32(max(1, high - low))


def vote(masks: Array) -> Array:
    """The pixels (h, w) uint8 that at least two of three masks (3, h, w) uint8 hold; any value but 0 counts as held.

    They get the masks' own foreground value: 1, or 255 in masks that are pictures.
    """
    return (np.count_nonzero(masks, axis=0) >= 2) * masks.max()


def answer(tensors: Tensors, _: Networks) -> Tensors:
    """The last step: three logits (1, 1, 800, 800) to the voted mask on the picture's grid, with what else is wanted.

    `mask` (h, w) uint8 0/1; `agreement` (h, w) uint8, how many of the three say STAS; `votes` (3, h, w) uint8 0/1;
    `probability` (h, w) uint8, the voters' mean, 255 is certain; `mask_png` (1,) the mask as a 0/255 PNG;
    `polygons` (1,) the mask's outlines as LabelMe JSON.
    """
    height, width = tensors["size"][0].tolist()
    logits = resized(np.concatenate([tensors[name][0] for name in _LOGITS]), (height, width))
    votes = (logits > 0).astype(np.uint8)
    mask = vote(votes)
    offers = {
        "mask": lambda: mask,
        "agreement": lambda: votes.sum(axis=0, dtype=np.uint8),
        "votes": lambda: votes,
        "probability": lambda: np.round(probability(logits).mean(axis=0)).astype(np.uint8),
        "mask_png": lambda: np.array([png(mask * np.uint8(255))], object),
        "polygons": lambda: np.array([json.dumps(labelme_from_mask(mask, "", "STAS")).encode()], object),
    }
    return wanted(offers, tensors)


_OUTPUTS = ("mask", "agreement", "votes", "probability", "mask_png", "polygons")

PIPELINE = Pipeline(
    tensors=(
        Tensor("encoded", "bytes", (1,)),
        Tensor("packed", "uint8", (1, -1), limit=MAX_BYTES),
        Tensor("size", "int32", (1, 2)),
        Tensor("input", "float32", (1, *NETWORKS[0].input_shape)),
        *(Tensor(name, "float32", (1, *NETWORKS[0].output_shape)) for name in _LOGITS),
        WANTED,
        Tensor("mask", "uint8", (-1, -1), limit=MAX_SIDE),
        Tensor("agreement", "uint8", (-1, -1), optional=True, limit=MAX_SIDE),
        Tensor("votes", "uint8", (3, -1, -1), optional=True, limit=MAX_SIDE),
        Tensor("probability", "uint8", (-1, -1), optional=True, limit=MAX_SIDE),
        Tensor("mask_png", "bytes", (1,), optional=True),
        Tensor("polygons", "bytes", (1,), optional=True),
    ),
    inputs=("encoded", "wanted"),
    steps=(
        Step("check", checked, ("encoded",), ("packed", "size")),
        Step("decode", decoded, ("packed",), ("input",)),
        *(
            Step(logits.removesuffix("_logits"), voter, ("input",), (logits,))
            for voter, logits in zip(VOTERS, _LOGITS, strict=True)
        ),
        Step("answer", answer, (*_LOGITS, "size", "wanted"), _OUTPUTS),
    ),
    outputs=_OUTPUTS,
)
