"""Every score of one mask at once."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.metrics.hausdorff import hausdorff, hd95
from medseg.metrics.overlap import overlap
from medseg.task import Array


def mask_scores(answer: Array, truth: Array, spacing_mm: Sequence[float] | None) -> dict[str, float]:
    """Dice, IoU, precision, recall, Hausdorff and HD95 of two masks of one shape.

    The distances are in mm, and in pixels, by another name, where the spacing is not known. What empty masks score is
    said in `medseg.metrics.overlap` and `medseg.metrics.hausdorff`.
    """
    both = overlap(answer, truth)
    spacing, unit = (spacing_mm, "mm") if spacing_mm else ((1.0,) * truth.ndim, "px")
    return {
        "dice": both.dice,
        "iou": both.iou,
        "precision": both.precision,
        "recall": both.recall,
        f"hausdorff_{unit}": hausdorff(answer, truth, spacing),
        f"hd95_{unit}": hd95(answer, truth, spacing),
    }
