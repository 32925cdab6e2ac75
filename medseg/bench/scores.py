"""Scores: how good one answer is, by the field's own measures, and the answer drawn beside its truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medseg.data import overlay
from medseg.metrics.finding import Finding
from medseg.metrics.froc import froc
from medseg.metrics.hausdorff import hd95
from medseg.metrics.overlap import overlap
from medseg.task import Array, Tensors
from medseg.tasks.luna.pipeline import NODULE_COLUMNS

Scores = Mapping[str, float]
_LARGEST_PX = 512


def masks(answer: Array, truth: Array, spacing_mm: Sequence[float] | None) -> Scores:
    """Dice, IoU and HD95 (in mm, in pixels where the spacing is not known), each the mean over the masks' classes.

    `answer` and `truth` are (classes, ...) with the rest two or three axes.
    """
    found = [overlap(one, other) for one, other in zip(answer, truth, strict=True)]
    spacing, unit = (spacing_mm, "mm") if spacing_mm else ([1.0] * (truth.ndim - 1), "px")
    distances = [hd95(one, other, spacing) for one, other in zip(answer, truth, strict=True)]
    return {
        "dice": float(np.mean([one.dice for one in found])),
        "iou": float(np.mean([one.iou for one in found])),
        f"hd95_{unit}": float(np.mean(distances)),
    }


def nodules(answer: Tensors, series: str, truth: Sequence[Finding], excluded: Sequence[Finding]) -> Scores:
    """LUNA's CPM over the listed nodules of one scan, the share of annotated nodules among them, and the false ones.

    Nodules below the listing threshold are not marks, so the CPM can only be lower than that of a whole submission.
    """
    places = [NODULE_COLUMNS.index(f"center_{axis}_mm") for axis in "xyz"]
    probability = NODULE_COLUMNS.index("nodule_probability")
    marks = [Finding(series, tuple(row[places].tolist()), float(row[probability])) for row in answer["nodules"]]
    curve = froc(marks, truth, excluded, [series])
    return {"cpm": curve.cpm, "sensitivity": curve.found / curve.nodules, "listed": float(len(marks))}


def drawn(image: Array, truth: Array, answer: Array) -> Array:
    """The picture (h, w, 3) uint8 RGB with truth (green) and answer (amber) outlined; of a volume, its worst slice.

    `image` is (h, w), (h, w, 3) or a volume of those; the masks are (classes, h, w), or (1, slices, h, w) of a volume.
    """
    if truth.ndim == 4:
        differing = (truth != answer).sum((0, 2, 3))
        index = int(differing.argmax() if differing.any() else truth.sum((0, 2, 3)).argmax())
        image, truth, answer = image[index], truth[:, index], answer[:, index]
    picture = overlay.grey(image) if image.ndim == 2 else image
    for mask, colour in ((truth, overlay.GREEN), (answer, overlay.AMBER)):
        for one in mask:
            picture = overlay.painted(picture, one, colour, tint=0.0, width=max(1, len(picture) // 300))
    return picture[:: _step(picture), :: _step(picture)]


def _step(picture: Array) -> int:
    return max(1, -(-max(picture.shape[:2]) // (2 * _LARGEST_PX)))
