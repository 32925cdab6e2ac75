"""Scores of the organs' masks, scan by scan as in the competition, and views of them beside the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from medseg.data import overlay
from medseg.data.encoded import GREY16, decode
from medseg.data.picture import View, most_different
from medseg.errors import InputError
from medseg.metrics.definitions import COUNT, DICE, HD95_PX, HIGHER, IOU, LOWER, MM, NEITHER, SHARE, Metric, of
from medseg.metrics.uw_madison import pooled
from medseg.scoring import Overall, Rows, Scoring
from medseg.task import Array, Case, Request, Tensors
from medseg.tasks.gi_tract.networks import GI_TRACT
from medseg.tasks.gi_tract.scan import scan_scores
from medseg.tasks.gi_tract.submission import submitted

SCORE = Metric(
    "score",
    SHARE,
    HIGHER,
    "0.4 dice + 0.6 (1 - hausdorff) of a scan; over all scans computed from the pooled dice and hausdorff, like the "
    "competition's score in its public grader",
)
UW_DICE = Metric(
    "dice",
    SHARE,
    HIGHER,
    "the mean Dice over every pair of slice and organ that the answer or the truth outlines, of a scan; over all "
    "scans the mean over all their pairs",
)
UW_HAUSDORFF = Metric(
    "hausdorff",
    SHARE,
    LOWER,
    "the 3D Hausdorff distance of all organs of a scan together, between all voxels, divided by the scan's diagonal; "
    "1 if one mask is empty or the answer has more than ten times the truth's voxels",
)
_VOLUME, _SLICE = "of a scan's volume, the mean over organs: ", "of one slice, the mean over organs, then over slices: "
METRICS = (
    SCORE,
    UW_DICE,
    UW_HAUSDORFF,
    Metric("outlined", COUNT, NEITHER, "the number of pairs of slice and organ over which the scan's dice is the mean"),
    Metric(
        "organ_score",
        SHARE,
        HIGHER,
        "like score, but with a Dice and a distance for each organ, then the mean over the organs",
    ),
    of(DICE, _VOLUME, "volume_dice"),
    of(IOU, _VOLUME, "volume_iou"),
    Metric("hd95_mm", MM, LOWER, f"{_VOLUME}{HD95_PX.meaning}"),
    *(
        of(DICE, f"of the {name.replace('_', ' ')}, over a scan's volume: ", f"dice_{name}")
        for name in GI_TRACT.classes
    ),
    of(DICE, _SLICE, "slice_dice"),
    of(IOU, _SLICE, "slice_iou"),
    Metric("slice_hd95_mm", MM, LOWER, f"{_SLICE}{HD95_PX.meaning}"),
)
_SHOWN = 6


def rows(_: Path, cases: Sequence[Case], answers: Sequence[Tensors]) -> Rows:
    """Each scan's scores: the competition's, and Dice, IoU and HD95. A scan is one day of a case."""
    known = [(case, answer) for case, answer in zip(cases, answers, strict=True) if case.mask is not None]
    return {day: _scores(list(pairs)) for day, pairs in groupby(known, key=lambda pair: scan_of(pair[0].id))}


def scan_of(case_id: str) -> str:
    """The scan that a slice belongs to, such as case7_day0."""
    return case_id.split("_slice_")[0]


def overall(_: Path, scans: Rows, __: Mapping[str, Tensors], ___: Mapping[str, float]) -> Overall:
    """The competition's score of all scans together, pooled as its grader does."""
    return Overall(pooled(scans))


def case_of(request: Request) -> Case:
    """A request's slice as a case without truth."""
    return Case(request.name, decode(request.tensors["encoded"][0], GREY16, request.name))


def masks(_: Sequence[Case], answers: Sequence[Tensors]) -> list[Array]:
    """Each slice's answered mask (organ, row, col)."""
    return [answer["mask"] for answer in answers]


def views(cases: Sequence[Case], masks: Mapping[str, Sequence[Array]]) -> list[View]:
    """At most six slices, of those with the first slice's size, in which the masks differ most."""
    same = [number for number, case in enumerate(cases) if case.image.shape == cases[0].image.shape]
    found = {name: np.stack([slices[number] for number in same]) for name, slices in masks.items()}
    scan = overlay.grey(np.stack([cases[number].image for number in same]))
    return [
        View(
            scan[index],
            {name: volume[index] for name, volume in found.items()},
            cases[same[index]].id,
        )
        for index in most_different(list(found.values()), _SHOWN)
    ]


def _scores(pairs: Iterable[tuple[Case, Tensors]]) -> dict[str, float]:
    known = list(pairs)
    first = known[0][0]
    answer = _volume([answer["mask"] for _, answer in known], f"{scan_of(first.id)}: the answer")
    truth = _volume([np.asarray(case.mask) for case, _ in known], f"{scan_of(first.id)}: the truth")
    assert first.spacing_mm is not None, "slices' names hold their spacing"
    return scan_scores(answer, truth, first.spacing_mm)


def _volume(slices: Sequence[Array], what: str) -> Array:
    """A scan's masks (organ, slice, row, col). Raises InputError where its slices differ in size."""
    shapes = sorted({mask.shape for mask in slices})
    if len(shapes) > 1:
        raise InputError(f"{what} has slices of {shapes[0]} and of {shapes[-1]}; expected one size: check the pictures")
    return np.stack(slices, axis=1)


SCORING = Scoring(
    main="score",
    metrics=METRICS,
    rows=rows,
    case_of=case_of,
    masks=masks,
    views=views,
    brief=("score", "dice", "hausdorff", "volume_dice", "hd95_mm", "slice_dice"),
    row_of=scan_of,
    overall=overall,
    submission=submitted,
)
