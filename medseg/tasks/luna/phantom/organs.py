"""What lies between and below a made-up chest's lungs: heart, great vessels, airways, liver, spleen and stomach."""

from __future__ import annotations

import numpy as np

from medseg.task import Array
from medseg.tasks.luna.phantom.shapes import Axes, Tube, ball, box_of, paint_ball, paint_tube, part_of

AIR, BRONCHUS, FLUID, WALL, BLOOD, FLESH, LIVER, SPLEEN = -990, -180, 15, 20, 42, 46, 60, 52
INF = float("inf")
HEART = (  # the middles and radii of what it is made of, left to right
    ((-27.0, -15.0, 20.0), (27.0, 26.0, 27.0)),
    ((-25.0, -22.0, 8.0), (28.0, 26.0, 26.0)),
    ((-24.0, -23.0, -5.0), (29.0, 23.0, 25.0)),
)
AORTA_AT, AORTA_MM = (0.0, 27.0, 19.0), 9.5  # the part that runs down beside the spine
VESSELS: tuple[Tube, ...] = (
    ((0, -12, -5), (34, -8, -5), 10.5),  # rising aorta
    ((34, -8, -5), (40, 8, 8), 9.5),  # its arch
    ((40, 8, 8), (32, 26, 18), 9.5),
    ((32, 26, 18), (-60, 27, 18), 8.5),
    ((-5, -16, -22), (62, -14, -17), 6.5),  # upper hollow vein
    ((2, -24, 9), (9, -10, 12), 10.0),  # trunk of the lungs' arteries, and both of these
    ((9, -10, 12), (6, -1, -26), 8.0),
    ((9, -10, 12), (9, 3, 28), 8.0),
    ((-8, 8, -24), (-10, 4, 0), 7.5),  # the lungs' veins, into the left atrium
    ((-8, 8, 26), (-10, 4, 0), 7.5),
    ((-10, 3, 2), (-16, 3, 4), 17.0),
    ((40, 2, 12), (64, 4, 22), 4.5),  # what leaves the arch
    ((40, -4, -2), (64, -6, -10), 4.5),
)
GULLET: Tube = ((-60, 18, 6), (62, 16, 4), 5.5)
AIRWAYS: tuple[Tube, ...] = (
    ((62, 4, -1), (22, 5, -1), 7.0),
    ((22, 5, -1), (8, 6, -24), 5.2),
    ((22, 5, -1), (10, 7, 27), 4.8),
    ((8, 6, -24), (-14, 16, -38), 3.2),
    ((8, 6, -24), (14, -8, -42), 2.4),
    ((10, 7, 27), (-12, 18, 42), 3.0),
    ((10, 7, 27), (16, -6, 46), 2.4),
)


def mediastinum(axes: Axes) -> Array:
    """What lies between the lungs, as a distance: a wall that is thin in front, the heart, aorta and spine."""
    z, y, x = axes
    width = 7 + 17 * np.exp(-(((y - 2) / 24) ** 2)) - 4 * np.clip(z / 60, -1, 1)
    parts = np.abs(x - 3) - width + 0 * z
    for centre, radii in (
        *((middle, np.add(radii, 2)) for middle, radii in HEART),
        ((0, AORTA_AT[1], AORTA_AT[2]), (INF, AORTA_MM + 1, AORTA_MM + 1)),
        ((0, 40, 0), (INF, 17, 18)),
        ((36, 8, 8), (14, 20, 20)),
    ):
        box = box_of(axes, centre, radii)
        np.minimum(parts[box], ball(part_of(axes, box), centre, radii), out=parts[box])
    return parts


def diaphragm(axes: Axes, higher_mm: float) -> Array:
    """The two domes, as a distance: positive below them."""
    z, y, x = axes
    sides = [
        top - 34 * (((x - middle) / 62) ** 2 + ((y + 8) / 56) ** 2) ** 1.5
        for top, middle in ((-30 + higher_mm, -42), (-36 + higher_mm, 44))
    ]
    return 0.85 * (np.maximum(*sides) - z)


def paint_belly(hu: Array, axes: Axes, below: Array) -> None:
    """Paint what lies under the domes (`below`, a distance): the liver on the right, spleen and stomach on the left."""
    within = below + 1
    paint_ball(hu, axes, (-66, -6, -34), (40, 58, 62), LIVER, within)
    paint_ball(hu, axes, (-60, 26, 62), (26, 22, 20), SPLEEN, within)
    paint_ball(hu, axes, (-62, -12, 36), (24, 26, 26), FLUID, within)


def paint_organs(hu: Array, axes: Axes, dome: Array) -> None:
    """Paint the heart above the domes, the great vessels, and the gullet."""
    above = dome + 1.5
    for middle, radii in HEART:
        paint_ball(hu, axes, middle, radii, FLESH, above)
    for vessel in VESSELS:
        paint_tube(hu, axes, vessel, BLOOD)
    paint_tube(hu, axes, GULLET, WALL)


def paint_airways(hu: Array, axes: Axes) -> None:
    """Paint windpipe and bronchi: first every wall, then the air, so that they open into each other."""
    for start, end, radius in AIRWAYS:
        paint_tube(hu, axes, (start, end, 0.8 + 1.06 * radius), BRONCHUS)
    for airway in AIRWAYS:
        paint_tube(hu, axes, airway, AIR)
