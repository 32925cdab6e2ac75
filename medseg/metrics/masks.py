"""Every score of one mask at once."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.metrics.hausdorff import between_borders
from medseg.metrics.overlap import overlap
from medseg.task import Array


def mask_scores(answer: Array, truth: Array, spacing_mm: Sequence[float] | None) -> dict[str, float]:
    """Dice, IoU, precision, recall, Hausdorff, HD95 and mean surface distance of two masks of one shape.

    The distances are in mm, and in pixels, by another name, where the spacing is not known. What empty masks score is
    said in docs/metrics.md. Raises InputError where the shapes differ.
    """
    both = overlap(answer, truth)
    spacing, unit = (spacing_mm, "mm") if spacing_mm else ((1.0,) * truth.ndim, "px")
    borders = between_borders(answer, truth, spacing)
    return {
        "dice": both.dice,
        "iou": both.iou,
        "precision": both.precision,
        "recall": both.recall,
        f"hausdorff_{unit}": borders.percentile(100),
        f"hd95_{unit}": borders.percentile(95),
        f"assd_{unit}": borders.mean,
    }
