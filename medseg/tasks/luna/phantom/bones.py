"""A made-up chest's bones: dense at their surface, with marrow inside."""

from __future__ import annotations

import numpy as np

from medseg.data.phantom import paint
from medseg.task import Array
from medseg.tasks.luna.phantom.shapes import EDGE_MM, Axes, ball, box_of, part_of

INF = float("inf")
CORD, DISC, CARTILAGE, MARROW, CORTEX = 30, 85, 120, 190, 600
CORTEX_MM = 1.3
RIB_PITCH_MM, RIB_FALL_MM = 17.0, 60.0  # from rib to rib, and how much lower than at the spine a rib ends in front
CARTILAGE_FROM = 0.74  # share of the way from the spine to the breastbone
BREASTBONE = ((0, -64.5, 0), (INF, 4.5, 14))  # middle and radii
AROUND_MM = 200.0  # from the spine to the breastbone
VERTEBRA_MM = 19.0


def paint_bones(hu: Array, axes: Axes, cavity: Array, first_mm: float) -> None:
    """Paint ribs and shoulder blades around the cavity (a distance), the spine and the breastbone.

    The first pair of ribs, and the first vertebra, begin at a height of `first_mm`.
    """
    _paint_shell(hu, axes, cavity, first_mm)
    _paint_spine(hu, axes, first_mm)
    box = box_of(axes, *BREASTBONE)
    values = hu[box]
    _paint_bone(values, ball(part_of(axes, box), *BREASTBONE) + np.zeros_like(values))


def _paint_shell(hu: Array, axes: Axes, cavity: Array, first_mm: float) -> None:
    """What runs around the cavity, and is worked out near it alone."""
    near = (cavity > -1) & (cavity < 15)
    index, row, col = np.nonzero(near)
    z, y, x = axes[0][index, 0, 0], axes[1][0, row, 0], axes[2][0, 0, col]
    way = np.abs(np.arctan2(x, y - 8)) / np.pi  # 0 at the spine, 1 in front
    up = (z + RIB_FALL_MM * way**0.85 - first_mm) % RIB_PITCH_MM - RIB_PITCH_MM / 2
    rib = np.hypot(np.maximum(np.abs(up) - 2.4, 0), cavity[near] - 3.5) - 2.7
    rib = np.maximum(rib, 12 - np.abs(x))
    blade = np.maximum(
        np.abs(cavity[near] - 11.5) - 1.7, 200 * (np.abs(way - 0.31) - 0.11 * np.clip((z + 25) / 40, 0, 1))
    )
    values = hu[near]
    paint(values, np.where(way > CARTILAGE_FROM, rib, INF), CARTILAGE, EDGE_MM)
    _paint_bone(values, np.where(way > CARTILAGE_FROM, INF, rib))
    _paint_bone(values, blade)
    hu[near] = values


def _paint_spine(hu: Array, axes: Axes, first_mm: float) -> None:
    rows, cols = np.abs(axes[1][0, :, 0] - 48) < 30, np.abs(axes[2][0, 0]) < 32
    box = np.ix_(np.full(len(hu), True), rows, cols)
    z, y, x = axes[0], axes[1][:, rows], axes[2][:, :, cols]
    up = np.abs((z - first_mm) % VERTEBRA_MM - VERTEBRA_MM / 2)  # 0 at a vertebra's middle
    body = ball((z, y, x), (0, 37, 0), (INF, 11.5, 15.0))
    arch = np.abs(ball((z, y, x), (0, 54, 0), (INF, 8.0, 9.0))) - 1.6
    spine = np.maximum(np.maximum(np.abs(x) - 2.2 + 0 * z, np.abs(y - 65) - 7), up - 6)
    wings = np.maximum(np.maximum(np.abs(y - 53 - 0.12 * np.abs(x)) - 2.6, np.abs(np.abs(x) - 17) - 9), up - 4)
    values = hu[box]
    paint(values, body + 0 * z, DISC, EDGE_MM)
    _paint_bone(values, np.maximum(body, up - VERTEBRA_MM / 2 + 2.2))
    for part in (np.maximum(arch, up - 7.5), spine, wings):
        _paint_bone(values, part)
    paint(values, ball((z, y, x), (0, 54, 0), (INF, 5.5, 6.5)) + 0 * z, CORD, EDGE_MM)
    hu[box] = values


def _paint_bone(hu: Array, distance_mm: Array) -> None:
    paint(hu, distance_mm, CORTEX, EDGE_MM)
    paint(hu, distance_mm + CORTEX_MM, MARROW, EDGE_MM)
