"""Scores: how good one answer is, by the field's own measures, and the answer drawn beside its truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data import overlay
from medseg.metrics.finding import Finding
from medseg.metrics.hausdorff import hd95
from medseg.metrics.overlap import overlap
from medseg.metrics.shape import check_shapes
from medseg.task import Array, Case, Tensors

Scores = Mapping[str, float]
_LARGEST_PX = 512


def masks(answer: Array, truth: Array, spacing_mm: Sequence[float] | None) -> Scores:
    """Dice, IoU and HD95 (in mm, in pixels where the spacing is not known), each the mean over the masks' classes.

    `answer` and `truth` are (classes, ...) with the rest two or three axes.
    """
    check_shapes(answer, truth)
    found = [overlap(one, other) for one, other in zip(answer, truth, strict=True)]
    spacing, unit = (spacing_mm, "mm") if spacing_mm else ([1.0] * (truth.ndim - 1), "px")
    distances = [hd95(one, other, spacing) for one, other in zip(answer, truth, strict=True)]
    return {
        "dice": float(np.mean([one.dice for one in found])),
        "iou": float(np.mean([one.iou for one in found])),
        f"hd95_{unit}": float(np.mean(distances)),
    }


def scan(cases: Sequence[Case], answers: Sequence[Tensors]) -> Scores:
    """The UW-Madison score of one scan's slices by itself, with its two parts: Dice and 3D Hausdorff distance.

    Empty where neither answers nor truth outline anything.
    """
    from medseg.tasks.gi_tract.score import rows

    (found,) = rows(Path(), cases, answers).values()
    return {f"uw_{name}": found[name] for name in ("score", "dice", "hausdorff") if name in found}


def nodules(data: Path, series: str, answer: Tensors) -> Scores:
    """LUNA's CPM of one scan over every mark, and of those from probability 0.5 on: nodules found, false ones, all.

    Candidates below the answer's threshold are not marks, so the CPM can only be lower than a whole submission's.
    """
    from medseg.tasks.luna.score import LISTED, froc_of, marks

    found = marks(series, answer)
    shown = [mark for mark in found if mark.value >= LISTED]
    listed = froc_of(data, shown, [series])
    return {
        "cpm": froc_of(data, found, [series]).cpm,
        "sensitivity": listed.found / listed.nodules,
        "false_positives": float(listed.false),
        "listed": float(len(shown)),
    }


def marks(series: str, answer: Tensors) -> list[Finding]:
    """A scan's marks, kept for the FROC of all scans together."""
    from medseg.tasks.luna.score import marks

    return marks(series, answer)


def froc(data: Path, found: Mapping[str, Sequence[Finding]]) -> Mapping[str, Any]:
    """LUNA16's FROC of all scans together, with intervals, from each scan's marks."""
    from medseg.tasks.luna.score import record_of

    return record_of(data, list(chain.from_iterable(found.values())), list(found))


def nodules_drawn(data: Path, ct: Path, answer: Tensors) -> Array:
    """A CT's annotated nodules beside the answer's marks, (h, w, 3) uint8."""
    from medseg.data.volume import read_volume
    from medseg.tasks.luna import files, picture, tables
    from medseg.tasks.luna.pipeline import mask_from_bits

    volume = read_volume(ct)
    truth = [row for row in tables.nodules(data) if row.series == ct.stem]
    mask = mask_from_bits(answer["candidates"], volume.array.shape)
    return picture.beside_truth(volume, mask, files.nodules(answer["nodules"]), truth)


def shaped(mask: Array, truth: Array) -> Array:
    """An answer's mask (h, w), or a volume's, as (1, h, w) where its truth is of that shape: else as it is."""
    return mask[np.newaxis] if mask.ndim == truth.ndim - 1 and len(truth) == 1 else mask


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
