"""How good the organs' outlines are, scan by scan as the competition scores them, and what they look like."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from medseg.data import overlay
from medseg.data.encoded import GREY16, decode
from medseg.data.picture import View, most_different
from medseg.errors import InputError
from medseg.metrics.hausdorff import hd95
from medseg.metrics.overlap import overlap
from medseg.metrics.uw_madison import organ_score, outlined, uw_madison
from medseg.task import Array, Case, Request, Tensors
from medseg.tasks.gi_tract.networks import GI_TRACT

MAIN = "score"
_SHOWN = 6

Scan = tuple[Array, Array]  # answer and truth (organ, slice, row, col)


def rows(_: Path, cases: Sequence[Case], answers: Sequence[Tensors]) -> dict[str, dict[str, float]]:
    """Each scan's scores (a scan is one day of a case): the competition's, and Dice, IoU and HD95 over its volume."""
    known = [(case, answer) for case, answer in zip(cases, answers, strict=True) if case.mask is not None]
    return {day: _scores(list(pairs)) for day, pairs in groupby(known, key=lambda pair: scan_of(pair[0]))}


def scan_of(case: Case) -> str:
    """The scan a slice belongs to: case7_day0."""
    return case.id.split("_slice_")[0]


def case_of(request: Request) -> Case:
    """A request's slice as a case without truth."""
    return Case(request.name, decode(request.tensors["encoded"][0], GREY16, request.name))


def masks(_: Sequence[Case], answers: Sequence[Tensors]) -> list[Array]:
    """Each slice's answered mask (organ, row, col)."""
    return [answer["mask"] for answer in answers]


def views(cases: Sequence[Case], masks: Mapping[str, Sequence[Array]]) -> list[View]:
    """The six slices of the first slice's size in which the masks differ most."""
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
    answer = _volume([answer["mask"] for _, answer in known], f"{scan_of(first)}: the answer")
    truth = _volume([np.asarray(case.mask) for case, _ in known], f"{scan_of(first)}: the truth")
    assert first.spacing_mm is not None, "slices' names hold their spacing"
    found = [overlap(one, other) for one, other in zip(answer, truth, strict=True)]
    distances = [hd95(one, other, first.spacing_mm) for one, other in zip(answer, truth, strict=True)]
    return {
        **uw_madison(answer, truth),
        "outlined": float(len(outlined(answer, truth))),
        "organ_score": organ_score(answer, truth),
        "volume_dice": float(np.mean([one.dice for one in found])),
        "volume_iou": float(np.mean([one.iou for one in found])),
        "hd95_mm": float(np.mean(distances)),
        **{f"dice_{name}": one.dice for name, one in zip(GI_TRACT.classes, found, strict=True)},
    }


def _volume(slices: Sequence[Array], what: str) -> Array:
    """A scan's masks (organ, slice, row, col). Raises InputError where its slices are not of one size."""
    shapes = sorted({mask.shape for mask in slices})
    if len(shapes) > 1:
        raise InputError(f"{what} has slices of {shapes[0]} and of {shapes[-1]}; expected one size: check the pictures")
    return np.stack(slices, axis=1)
