"""The scores of one scan's masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.metrics.hausdorff import hd95
from medseg.metrics.overlap import overlap
from medseg.metrics.uw_madison import organ_score, outlined, uw_madison
from medseg.task import Array
from medseg.tasks.gi_tract.networks import GI_TRACT


def scan_scores(answer: Array, truth: Array, spacing_mm: Sequence[float]) -> dict[str, float]:
    """One scan's scores; masks are (organ, slice, row, col). Raises InputError where the shapes differ."""
    pairs = outlined(answer, truth)
    found = [overlap(one, other) for one, other in zip(answer, truth, strict=True)]
    distances = [hd95(one, other, spacing_mm) for one, other in zip(answer, truth, strict=True)]
    return {
        **uw_madison(answer, truth),
        "outlined": float(len(pairs)),
        "organ_score": organ_score(answer, truth),
        "volume_dice": float(np.mean([one.dice for one in found])),
        "volume_iou": float(np.mean([one.iou for one in found])),
        "hd95_mm": float(np.mean(distances)),
        **{f"dice_{name}": one.dice for name, one in zip(GI_TRACT.classes, found, strict=True)},
        **slice_scores(answer, truth, spacing_mm[1:]),
    }


def slice_scores(answer: Array, truth: Array, spacing_mm: Sequence[float]) -> dict[str, float]:
    """The mean of the scores of every organ on every slice of a scan; masks are (organ, slice, row, col)."""
    sides = [mask.reshape(-1, *mask.shape[2:]) for mask in (answer, truth)]
    found = [overlap(one, other) for one, other in zip(*sides, strict=True)]
    return {
        "slice_dice": float(np.mean([one.dice for one in found])),
        "slice_iou": float(np.mean([one.iou for one in found])),
        "slice_hd95_mm": float(np.mean([hd95(one, other, spacing_mm) for one, other in zip(*sides, strict=True)])),
    }
