"""Several masks outlined over one image: the truth and the answers of one or several runs."""

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
_FILLED = 0.4  # the tint of the truth


@dataclass(frozen=True)
class View:
    """One image (h, w, 3) uint8 RGB, the masks over it by name, each (h, w) or (classes, h, w), and a caption."""

    image: Array
    masks: Mapping[str, Array]
    caption: str = ""


def compared(views: Sequence[View]) -> Array:
    """Views of one size on a sheet (h, w, 3) uint8 RGB. Masks of one name have one colour; a legend is below.

    Raises InputError for more than 6 runs.
    """
    names = list(dict.fromkeys(chain.from_iterable(view.masks for view in views)))
    runs = [name for name in names if name != TRUTH]
    if len(runs) > len(RUN_COLOURS):
        raise InputError(f"{len(runs)} runs over one picture; expected {len(RUN_COLOURS)} at most: give fewer runs")
    colours = ({TRUTH: TRUTH_COLOUR} if TRUTH in names else {}) | dict(zip(runs, RUN_COLOURS, strict=False))
    panels = [outlined(view, colours) for view in views]
    sheet = overlay.sheet(panels, [view.caption for view in views], min(_COLUMNS, len(panels)))
    return overlay.legend(sheet, colours)


def outlined(view: View, colours: Mapping[str, overlay.Colour]) -> Array:
    """The view's image with the truth tinted and all masks outlined; small images are enlarged, large ones reduced."""
    width = view.image.shape[1]
    step = max(1, -(-width // _LARGEST_PX))
    picture = overlay.enlarged(view.image[::step, ::step], max(1, -(-_SMALLEST_PX // width)))
    for number, (name, mask) in enumerate(view.masks.items()):
        width_px = min(
            4 * (len(view.masks) - number) - 2, _WIDEST_PX
        )  # earlier outlines are wider, so where two coincide, the one below stays visible on both sides
        tint, width_px = (_FILLED, 2) if name == TRUTH else (0.0, width_px)
        for one in mask.reshape(-1, *mask.shape[-2:]):
            picture = overlay.painted(picture, one[::step, ::step], colours[name], tint=tint, width=width_px)
    return picture


def most_different(masks: Sequence[Array], count: int) -> list[int]:
    """Numbers, in order, of at most `count` slices in which the masks, each (slice, ..., col), differ most.

    Where the masks are equal, the slices with most foreground are chosen. Slices without a difference, or without
    foreground, are left out, unless no slice has any.
    """
    stack = np.stack([mask != 0 for mask in masks])
    axes = tuple(range(1, stack.ndim - 1))
    differing = (stack.any(0) & ~stack.all(0)).sum(axes)
    weight = differing if differing.any() else stack.any(0).sum(axes)
    telling = int((weight > 0).sum()) or count
    return sorted(np.argsort(-weight, kind="stable")[: min(count, telling)].tolist())
