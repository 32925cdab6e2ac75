"""Lessons: what an int8 network is taught with and judged by, drawn from unlabelled samples and their teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from medseg.export.parity import compare, is_classifier, probabilities
from medseg.export.samples import Calibration, Drawn, drawn
from medseg.task import Array, Infer, Network

POOL = 48  # samples to learn from, beside those on which the file is judged
RANGING = 4  # times as many samples give ranges as judge the file, at most
EVERY = 4  # every fourth of them is held out: the best step is chosen by these
SIDE = {2: 128, 3: 64}  # of a crop, by the number of free axes
VOXELS = 1 << 17  # a batch has as many crops, or whole samples, as have these
UNSURE = 0.05, 0.95  # half of the crops lie around a voxel whose probability is between these
PLACES = 4096  # such voxels that are kept of a sample
_JUDGING = "on which the file is judged too"


@dataclass(frozen=True)
class Lessons:
    """Samples (1, *input_shape) float32 to fit on and to hold out, with the teacher's logits of the latter."""

    network: Network
    fitted: Sequence[Array]
    unsure: Sequence[Array]  # of each fitted sample, places (n, axes) where its teacher is unsure
    held_out: Sequence[Array]
    answers: Sequence[Array]
    origin: str

    def batch(self, step: int) -> Array:
        """The crops (n, channels, ...) of a step, the same whenever it is taken."""
        draw = np.random.default_rng((0, step))
        crop = self._crop(0, draw)
        more = range(1, VOXELS // prod(crop.shape[2:]))
        return np.concatenate([crop, *(self._crop(index, draw) for index in more)])

    def agreement(self, infer: Infer) -> float:
        """How well answers to the held-out samples agree: their least Dice, or minus a classifier's largest errors."""
        parity = compare(self.network, self.answers, map(infer, self.held_out))
        if not parity.finite:
            return -np.inf
        if is_classifier(self.network):
            return -(parity.probability_error + parity.odds_error)
        return min(parity.dice, parity.worst_dice)

    def fingerprint(self) -> str:
        """Which samples these are."""
        return hashlib.sha256("".join(_digest(one) for one in (*self.fitted, *self.held_out)).encode()).hexdigest()

    def _crop(self, index: int, draw: np.random.Generator) -> Array:
        """A crop of a sample along the axes that the network leaves free; every second one around an unsure voxel."""
        which = int(draw.integers(len(self.fitted)))
        sample, places = self.fitted[which], self.unsure[which]
        centre = places[draw.integers(len(places))] if index % 2 and len(places) else None
        cut = [slice(None)] * sample.ndim
        for axis in sorted(self.network.free_axes):
            side = min(sample.shape[axis], _side(self.network, axis))
            room = sample.shape[axis] - side
            start = draw.integers(room + 1) if centre is None else np.clip(centre[axis - 2] - side // 2, 0, room)
            cut[axis] = slice(int(start), int(start) + side)
        return sample[tuple(cut)]


def lessons(network: Network, teacher: Infer, pool: Drawn) -> Lessons:
    """Lessons from a pool of samples; of fewer than EVERY all are fitted and held out."""
    samples = list(pool.samples)
    few = len(samples) < EVERY
    held_out = samples if few else samples[::EVERY]
    fitted = samples if few else [one for index, one in enumerate(samples) if index % EVERY]
    unsure = [_unsure(network, teacher, one) for one in fitted]
    return Lessons(network, fitted, unsure, held_out, [teacher(one) for one in held_out], pool.origin)


def pool(network: Network, data: Path, known: Calibration) -> Drawn:
    """The data's samples without those on which the file is judged; where that leaves too few, half of these.

    Raises InputError where the folder has no samples for this network.
    """
    half = known.samples[::2]
    of_judged = Drawn(half, [None] * len(half), f"{len(half)} of the {known.origin}, {_JUDGING}")
    return _others(network, data, known, POOL) or of_judged


def seen(network: Network, data: Path | None, known: Calibration) -> Drawn:
    """Samples that give int8's ranges: of the data, at most RANGING times as many as judge the file, but none of these.

    Where that leaves too few, all that judge it: from half of them, values of the others would be cut off.
    """
    new = _others(network, data, known, min(POOL, RANGING * len(known.samples))) if data else None
    return new or Drawn(known.samples, [None] * len(known.samples), f"the {known.origin}, {_JUDGING}")


def _others(network: Network, data: Path, known: Calibration, most: int) -> Drawn | None:
    """At most so many of the data's samples, none of which judges the file; None where they are too few."""
    judged = {_digest(sample) for sample in known.samples}
    new = [sample for sample in drawn(network, data, most).samples if _digest(sample) not in judged]
    return Drawn(new, [None] * len(new), f"{len(new)} samples from {data}") if len(new) >= EVERY else None


def _side(network: Network, axis: int) -> int:
    """A crop's side along a free axis: a multiple of what the network needs."""
    multiple = network.free_axes[axis]
    return max(multiple, SIDE.get(len(network.free_axes), min(SIDE.values())) // multiple * multiple)


def _unsure(network: Network, teacher: Infer, sample: Array) -> Array:
    """The places (n, axes) of at most PLACES voxels of which the teacher is unsure; none if samples are not cropped."""
    if is_classifier(network) or not network.free_axes:
        return np.zeros((0, 0), int)
    chances = probabilities(network, teacher(sample))[0]
    places = np.argwhere(((chances > UNSURE[0]) & (chances < UNSURE[1])).any(axis=0))
    return places[:: max(1, len(places) // PLACES)]


def _digest(sample: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(sample).tobytes()).hexdigest()
