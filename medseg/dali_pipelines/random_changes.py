"""Random changes as numbers: drawn in numpy from seed, epoch and place in it: no thread or device alters them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medseg.data.augmentation import FEWEST_HOLES, MOST_HOLES, Augmentation
from medseg.task import Array


@dataclass(frozen=True)
class Drawn:
    """One sample's changes. Coordinates are those of the target square, 0 to 1, its middle at 0.5."""

    index: int
    turns: int  # quarter turns against the clock
    linear: Array  # (3, 3) float64: a place in the changed picture, x y 1, to the place it comes from
    wave: Array  # (4,) float32: amplitudes along x and y as shares of the side, phases in radians
    holes: Array  # (MOST_HOLES, 4) float32: top, left, height, width; zeros for no hole


def draw(how: Augmentation, index: int, seeds: tuple[int, ...]) -> Drawn:
    """The changes of a sample; `seeds` are the fit's seed, the epoch, and the place in it."""
    rng = np.random.default_rng(seeds)
    turns = int(rng.integers(1, 4)) if rng.random() < how.quarter_turns else 0
    linear = np.eye(3)
    if rng.random() < how.flip:
        linear = linear @ _about_middle(np.diag([-1.0, 1.0, 1.0]))
    if rng.random() < how.move:
        linear = linear @ _about_middle(_moved(how, rng))
    bent = rng.random() < how.bend
    wave = np.concatenate([rng.uniform(-1, 1, 2) * how.bend_by * bent, rng.uniform(0, 2 * np.pi, 2)])
    count = rng.integers(FEWEST_HOLES, MOST_HOLES + 1) if rng.random() < how.holes else 0
    holes = np.zeros((MOST_HOLES, 4), np.float32)
    holes[:count, :2] = rng.uniform(0, 1 - how.hole_side, (count, 2))
    holes[:count, 2:] = how.hole_side
    return Drawn(index, turns, linear, wave.astype(np.float32), holes)


def undrawn(how: Augmentation) -> str:
    """What of these changes is not drawn here, in words; "" where all of them are."""
    others = {
        "noise": how.noise > 0,
        "cuts": bool(how.crop),
        "stretching": how.stretch > 0,
        "flips of other axes": how.flip > 0 and how.flip_axes != (-1,),
    }
    return " and ".join(name for name, asked in others.items() if asked)


def pixel_matrix(linear: Array, source: tuple[int, int], target: tuple[int, int]) -> Array:
    """`Drawn.linear` in pixels, (2, 3) float32: of the target (h, w) to those of a picture (h, w), resize included."""
    to_unit = np.diag([1 / target[1], 1 / target[0], 1.0])
    to_source = np.diag([source[1], source[0], 1.0])
    return (to_source @ linear @ to_unit)[:2].astype(np.float32)


def _moved(how: Augmentation, rng: np.random.Generator) -> Array:
    across, down = rng.uniform(-how.shift, how.shift, 2)
    larger = 1 + rng.uniform(-how.scale, how.scale)
    moved = _turn(rng.uniform(-how.rotate_deg, how.rotate_deg)) @ np.diag([1 / larger, 1 / larger, 1])
    moved[:2, 2] = -across, -down
    return moved


def _turn(degrees: float) -> Array:
    radians = np.radians(degrees)
    cos, sin = np.cos(radians), np.sin(radians)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def _about_middle(matrix: Array) -> Array:
    """The matrix acting about (0.5, 0.5) instead of the corner."""
    to_middle = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    return np.linalg.inv(to_middle) @ matrix @ to_middle
