"""An answer as a picture: the slices with most of it, each class tinted and outlined in its colour."""

from __future__ import annotations

import numpy as np

from medseg.data import overlay
from medseg.data.upright import orientation_of
from medseg.description import Class, Description
from medseg.task import Array
from medseg.tasks.volume.cases import Asked
from medseg.tasks.volume.statistics import values_of

COLOURS = (overlay.AMBER, overlay.BLUE, overlay.RED, overlay.GREEN, (214, 93, 255), (0, 214, 214), (255, 128, 0))
_SHOWN, _COLUMNS, _NAMED = 12, 4, 24
_WIDEST_PX = 320


def drawn(description: Description, asked: Asked, mask: Array) -> Array:
    """Up to 12 axial slices with most of what was found, evenly spread ones where nothing was, RGB."""
    turn = orientation_of(asked.geometry)
    image, labels = turn.seen(asked.volumes[0].array), turn.seen(mask)
    chosen = slices(labels, _SHOWN)
    step = max(1, -(-max(labels.shape[1:]) // _WIDEST_PX))
    shown = overlay.grey(np.ascontiguousarray(image[chosen][:, ::step, ::step]))
    panels = []
    for index, panel in zip(chosen, shown, strict=True):
        small = labels[index][::step, ::step]
        for number, one in enumerate(_by_size(description)):
            inside = np.isin(small, values_of(one))
            if inside.any():
                panel = overlay.painted(panel, inside, colour(one, number), width=1)
        panels.append(panel)
    sheet = overlay.sheet(panels, [f"slice {index + 1}" for index in chosen], _COLUMNS)
    there = [one for one in _by_size(description) if np.isin(values_of(one), np.unique(mask)).any()]
    names = {one.name: colour(one, _by_size(description).index(one)) for one in there[:_NAMED]}
    return overlay.legend(sheet, names) if names else sheet


def slices(labels: Array, count: int) -> list[int]:
    """The slices with most labels, in order; evenly spread ones where there are none."""
    sizes = np.count_nonzero(labels, axis=(1, 2))
    if not sizes.any():
        return sorted({int(index) for index in np.linspace(0, len(labels) - 1, count)})
    return sorted(int(index) for index in np.argsort(-sizes, kind="stable")[:count] if sizes[index])


def colour(one: Class, number: int) -> overlay.Colour:
    """A class's colour: its own, or the one of its place."""
    return one.colour or COLOURS[number % len(COLOURS)]


def _by_size(description: Description) -> list[Class]:
    """The classes, regions of many values first, so that what lies in them is seen."""
    return sorted(description.classes, key=lambda one: -len(values_of(one)))
