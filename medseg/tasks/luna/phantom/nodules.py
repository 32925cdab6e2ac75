"""The nodules of a made-up chest: round, lobulated or spiculated; about half hang on a vessel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.data.phantom import paint
from medseg.task import Array
from medseg.tasks.luna.phantom.chest import ROOTS, Chest
from medseg.tasks.luna.phantom.shapes import EDGE_MM, around, ball, paint_tube, part_of

TISSUE = 45
FROM_PLEURA_MM, FROM_END_MM, FROM_ROOT_MM, APART_MM = 4.0, 8.0, 12.0, 12.0  # the last: from each other
SPICULATED_MM, LOBULATED_MM = 13.0, 9.0  # from here on nodules are of this kind more often than not
USUALLY, FED = 0.7, 0.6  # how often a nodule is of its size's kind, and hangs on a vessel


@dataclass(frozen=True)
class Look:
    """What a kind of nodule is made of, as shares of its radius: a core, lumps around it, and strands that leave it."""

    core: tuple[float, float]
    lumps: int
    away: tuple[float, float]
    size: tuple[float, float]
    strands: int = 0


LOOKS = {
    "round": Look((0.78, 1.05), 2, (0.3, 0.5), (0.5, 0.65)),
    "lobulated": Look((0.62, 0.85), 7, (0.55, 0.8), (0.3, 0.52)),
    "spiculated": Look((0.6, 0.85), 6, (0.5, 0.75), (0.25, 0.5), strands=16),
}


@dataclass(frozen=True)
class Nodule:
    """One nodule; `fed` says that a vessel ends in it."""

    centre: Array  # (z, y, x) in mm
    radius: float
    kind: str  # a key of LOOKS
    fed: bool


def nodules_in(rng: np.random.Generator, chest: Chest) -> list[Nodule]:
    """Three to five of 8 to 20 mm, in both lungs and well apart; at least one is small and one large."""
    diameters = [rng.uniform(12, 20), *rng.uniform(8, 20, rng.integers(1, 4)), rng.uniform(8, 10.5)]
    found: list[Nodule] = []
    for number, diameter in enumerate(diameters):
        places = _places(chest, diameter / 2, 1 if number % 2 else -1, found)
        if len(places):
            centre = rng.choice(places)
            found.append(Nodule(centre, float(diameter / 2), _kind(rng, diameter), rng.random() < FED))
    return found


def paint_nodule(rng: np.random.Generator, chest: Chest, nodule: Nodule) -> None:
    """Draw one: lumps around its middle and, where it is spiculated, thin strands that leave it."""
    radius, centre, look = nodule.radius, nodule.centre, LOOKS[nodule.kind]
    lumps = [(centre, radius * rng.uniform(*look.core, 3))]
    for direction in _directions(rng, look.lumps):
        away, size = rng.uniform(*look.away), rng.uniform(*look.size)
        lumps.append((centre + direction * radius * away, np.full(3, radius * size)))
    part = around(chest.axes, centre - 1.6 * radius, centre + 1.6 * radius)
    axes = part_of(chest.axes, part)
    paint(chest.hu[part], np.min([ball(axes, *lump) for lump in lumps], axis=0), TISSUE, EDGE_MM)
    for direction in _directions(rng, look.strands):
        start, end = centre + direction * radius * 0.5, centre + direction * (radius * 1.1 + rng.uniform(2, 5))
        paint_tube(chest.hu, chest.axes, (start, end, rng.uniform(0.6, 0.9)), TISSUE)


def _places(chest: Chest, radius: float, side: int, others: Sequence[Nodule]) -> Array:
    """Where a nodule of this radius has room in the lung of this side (-1 right, 1 left): centres (n, 3) in mm."""
    voxels = np.nonzero(chest.lungs < -radius - FROM_PLEURA_MM)
    places = np.stack([axis.ravel()[where] for axis, where in zip(chest.axes, voxels, strict=True)], 1)
    room = (places[:, 2] * side > 0) & (np.abs(places[:, 0]) < np.abs(chest.axes[0]).max() - radius - FROM_END_MM)
    for root in ROOTS:
        room &= np.linalg.norm(places - root * chest.stretch, axis=1) > radius + FROM_ROOT_MM
    for other in others:
        room &= np.linalg.norm(places - other.centre, axis=1) > radius + other.radius + APART_MM
    return places[room]


def _kind(rng: np.random.Generator, diameter: float) -> str:
    usual = "spiculated" if diameter > SPICULATED_MM else "lobulated" if diameter > LOBULATED_MM else "round"
    return usual if rng.random() < USUALLY else str(rng.choice(["round", "lobulated"]))


def _directions(rng: np.random.Generator, count: int) -> Array:
    """Unit vectors, (count, 3)."""
    found = rng.normal(size=(count, 3))
    return found / np.linalg.norm(found, axis=1, keepdims=True)
