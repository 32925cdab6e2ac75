"""STAS's inference as named steps: a picture is decoded once, goes to three networks, and their majority is the mask.

One network can also answer alone: this is how a single newly trained network is scored.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace

from medseg.data.decoding import decoder, prepared
from medseg.data.encoded import MAX_BYTES, MAX_SIDE, RGB, check, pack, portable, too_large
from medseg.data.grid import png, probability, resized
from medseg.data.labelme import labelme_from_mask
from medseg.data.numpy_or_torch import as_uint8, host, joined
from medseg.errors import InputError, RunError
from medseg.task import Array, Decode, Networks, Pipeline, Step, Tensor, Tensors
from medseg.tasks.on_request import requested, requested_tensor
from medseg.tasks.stas.networks import NETWORKS

SIZE = (NETWORKS[0].input_shape[1], NETWORKS[0].input_shape[2])
DECODE = Decode(RGB, "input", SIZE, "range")
VOTERS = tuple(network.name for network in NETWORKS)
_LOGITS = {voter: f"{voter.removeprefix('stas-').replace('-', '_')}_logits" for voter in VOTERS}


def checked(tensors: Tensors, _: Networks) -> Tensors:
    """Step 1: `encoded` (1,) bytes to `packed` (1, bytes) uint8 and its `size` (1, 2): height, width in pixels.

    Raises InputError where it is not exactly one complete RGB picture.
    """
    encoded = tensors["encoded"].ravel()
    if len(encoded) != 1:
        raise InputError(f"tensor 'encoded' holds {len(encoded)} pictures; expected 1 picture per request")
    size = check(encoded[0], RGB)
    return {"packed": pack([portable(encoded[0], RGB)]), "size": np.array([size], np.int32)}


def prepare(picture: Array) -> Array:
    """The networks' input (3, 800, 800) float32 from a picture (h, w, 3) uint8.

    The picture's darkest value becomes 0, its brightest 1.
    """
    return prepared(picture, DECODE)


def vote(masks: Array) -> Array:
    """The majority (h, w) uint8 of the masks (n, h, w) uint8: pixels in at least two of three masks, or one of one.

    In the masks, every value except 0 is foreground. In the majority, it is the masks' largest value: 1, or 255 for
    masks that are pictures.
    """
    return (_holding(masks) > len(masks) // 2) * masks.max()


def _holding(masks: Array) -> Array:
    """How many masks have each pixel, (h, w) int16. It is eight times as fast as numpy's count_nonzero on an axis."""
    xp = array_namespace(masks)
    count: Array = xp.sum(masks != 0, axis=0, dtype=xp.int16)
    return count


def masks(tensors: Tensors, _: Networks) -> Tensors:
    """The step after the networks: each one's logits (1, 1, 800, 800) to its mask on the picture's grid.

    `masks` (voters, h, w) uint8 0/1; if it is wanted, `probability` (h, w) uint8, the voters' mean, 255 is certain.
    """
    height, width = tensors["size"][0].tolist()
    logits = resized(joined([tensors[name][0] for name in _LOGITS.values() if name in tensors]), (height, width))
    offers = {"probability": lambda: _mean(probability(logits))}
    return {"masks": as_uint8(logits > 0), **requested(offers, tensors)}


def _mean(probabilities: Array) -> Array:
    """The mean (h, w) uint8 over the voters of their probabilities (voters, h, w) uint8."""
    xp = array_namespace(probabilities)
    return as_uint8(xp.round(xp.mean(xp.astype(probabilities, xp.float32), axis=0)))


def voted(tensors: Tensors, _: Networks) -> Tensors:
    """The last step: `masks` (voters, h, w) uint8 to their majority, and to the other outputs that are wanted.

    `mask` (h, w) uint8, see `vote`; `agreement` (h, w) uint8, how many voters say STAS; `votes`, the masks;
    `mask_png` (1,) the mask as a PNG of 0/255; `polygons` (1,) the mask's outlines as LabelMe JSON. Raises InputError
    for masks without a pixel.
    """
    votes = tensors["masks"]
    if 0 in votes.shape:
        raise InputError(f"tensor 'masks' has shape {tuple(votes.shape)}; expected at least one pixel")
    mask = vote(votes)
    offers = {
        "mask": lambda: mask,
        "agreement": lambda: as_uint8(_holding(votes)),
        "votes": lambda: votes,
        "mask_png": lambda: np.array([png((host(mask) > 0) * np.uint8(255))], object),
        "polygons": lambda: np.array([json.dumps(labelme_from_mask(host(mask), "", "STAS")).encode()], object),
    }
    return requested(offers, tensors)


_VOTED = ("mask", "agreement", "votes", "mask_png", "polygons")
_OUTPUTS = (*_VOTED[:3], "probability", *_VOTED[3:])


def pipeline_of(networks: Sequence[str]) -> Pipeline:
    """The pipeline of all three networks, or of one alone. Raises RunError for any other choice."""
    voters = [voter for voter in VOTERS if voter in networks]
    if len(voters) not in (1, len(VOTERS)):
        raise RunError(
            f"stas got runs of {' and '.join(voters) or 'none of its networks'}; expected one alone, or a majority of "
            f"{', '.join(VOTERS)}: give one --run, or one for each of the three"
        )
    logits = {voter: _LOGITS[voter] for voter in voters}
    return Pipeline(
        tensors=(
            Tensor("encoded", "bytes", (1,)),
            Tensor("packed", "uint8", (1, -1), limit=MAX_BYTES),
            Tensor("size", "int32", (1, 2), values=(1, MAX_SIDE), problem=too_large),
            Tensor("input", "float32", (1, *NETWORKS[0].input_shape)),
            *(Tensor(name, "float32", (1, *NETWORKS[0].output_shape)) for name in logits.values()),
            requested_tensor(_OUTPUTS),
            Tensor("masks", "uint8", (len(voters), -1, -1), limit=MAX_SIDE),
            Tensor("mask", "uint8", (-1, -1), limit=MAX_SIDE),
            Tensor("agreement", "uint8", (-1, -1), optional=True, limit=MAX_SIDE),
            Tensor("votes", "uint8", (len(voters), -1, -1), optional=True, limit=MAX_SIDE),
            Tensor("probability", "uint8", (-1, -1), optional=True, limit=MAX_SIDE),
            Tensor("mask_png", "bytes", (1,), optional=True),
            Tensor("polygons", "bytes", (1,), optional=True),
        ),
        inputs=("encoded", "wanted"),
        steps=(
            # `wanted` goes to the first step too, so that an unknown output is refused at once.
            Step("check", checked, ("encoded", "wanted"), ("packed", "size")),
            Step("decode", decoder(DECODE), ("packed",), ("input",)),
            *(Step(name.removesuffix("_logits"), voter, ("input",), (name,)) for voter, name in logits.items()),
            Step("masks", masks, (*logits.values(), "size", "wanted"), ("masks", "probability"), takes_torch=True),
            Step("vote", voted, ("masks", "wanted"), _VOTED, takes_torch=True),
        ),
        outputs=_OUTPUTS,
        networks=tuple(network for network in NETWORKS if network.name in voters),
    )


PIPELINE = pipeline_of(VOTERS)
