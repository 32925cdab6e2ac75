"""Several masks outlined over one image: the truth beside the answers of one run or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from medseg.data import overlay
from medseg.errors import InputError
from medseg.task import Array

TRUTH = "truth"
TRUTH_COLOUR = overlay.GREEN
RUN_COLOURS = (overlay.AMBER, overlay.BLUE, overlay.RED, (214, 93, 255), (0, 214, 214), (255, 255, 255))
_SMALLEST_PX, _LARGEST_PX, _COLUMNS = 420, 1800, 3
_WIDEST_PX = 6
_FILLED = 0.4  # how much of the truth's colour covers the picture


@dataclass(frozen=True)
class View:
    """One image (h, w, 3) uint8 RGB, the masks over it, each (h, w) or (classes, h, w), and a few words."""

    image: Array
    masks: Mapping[str, Array]
    caption: str = ""


def compared(views: Sequence[View]) -> Array:
    """All views of one size on a sheet, RGB, every mask of one name outlined in one colour, with a legend below."""
    names = list(dict.fromkeys(chain.from_iterable(view.masks for view in views)))
    runs = [name for name in names if name != TRUTH]
    if len(runs) > len(RUN_COLOURS):
        raise InputError(f"{len(runs)} runs over one picture; expected {len(RUN_COLOURS)} at most: give fewer runs")
    colours = ({TRUTH: TRUTH_COLOUR} if TRUTH in names else {}) | dict(zip(runs, RUN_COLOURS, strict=False))
    panels = [outlined(view, colours) for view in views]
    sheet = overlay.sheet(panels, [view.caption for view in views], min(_COLUMNS, len(panels)))
    return overlay.legend(sheet, colours)


def outlined(view: View, colours: Mapping[str, overlay.Colour]) -> Array:
    """The view's image with the truth filled and outlines over it, enlarged where small, made smaller where large."""
    width = view.image.shape[1]
    step = max(1, -(-width // _LARGEST_PX))
    picture = overlay.enlarged(view.image[::step, ::step], max(1, -(-_SMALLEST_PX // width)))
    for number, (name, mask) in enumerate(view.masks.items()):
        width_px = min(
            4 * (len(view.masks) - number) - 2, _WIDEST_PX
        )  # where two outlines hit each other, the wider one shows on both sides of the other
        tint, width_px = (_FILLED, 2) if name == TRUTH else (0.0, width_px)
        for one in mask.reshape(-1, *mask.shape[-2:]):
            picture = overlay.painted(picture, one[::step, ::step], colours[name], tint=tint, width=width_px)
    return picture


def most_different(masks: Sequence[Array], count: int) -> list[int]:
    """At most `count` slices, in order, in which masks (slice, ...) differ most; where none differs, the fullest ones.

    Slices with nothing to tell are left out, unless all are such.
    """
    stack = np.stack([mask != 0 for mask in masks])
    axes = tuple(range(1, stack.ndim - 1))
    differing = (stack.any(0) & ~stack.all(0)).sum(axes)
    weight = differing if differing.any() else stack.any(0).sum(axes)
    telling = int((weight > 0).sum()) or count
    return sorted(np.argsort(-weight, kind="stable")[: min(count, telling)].tolist())
