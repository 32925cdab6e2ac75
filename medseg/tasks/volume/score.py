"""The scores of labelled volumes, class by class in mm, and pictures of them with the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medseg.data import overlay
from medseg.data.geometry import geometry_from
from medseg.data.picture import View, most_different
from medseg.data.upright import orientation_of
from medseg.description import Class, Description
from medseg.metrics.definitions import COUNT, DICE, HD95_PX, HIGHER, LOWER, MM, NEITHER, SHARE, Metric, of
from medseg.metrics.hausdorff import Distances, between_borders
from medseg.metrics.overlap import overlap
from medseg.scoring import Rows, Scoring
from medseg.task import Array, Case, Request, Tensors
from medseg.tasks.volume.raw import dataset_of
from medseg.tasks.volume.statistics import values_of
from medseg.tasks.volume.summary import COUNTS, described, summary

TOLERANCE_MM = 1.0
NSD = Metric(
    "nsd_1mm",
    SHARE,
    HIGHER,
    "the normalised surface distance: the share of both masks' border voxels that lie at most 1 mm from the other "
    "mask's border; 0 if one is empty",
)
_HD95 = Metric("hd95_mm", MM, LOWER, HD95_PX.meaning)
_OF = "of a case, the mean over the classes that the truth or the answer has (1 where neither has any): "
_NONE = "of a case, the mean over the classes that the truth or the answer has (0 where neither has any): "
_SHOWN = 6
_COUNTED = {
    "tp": "voxels of a class in the answer and in the truth",
    "fp": "voxels of a class only in the answer",
    "fn": "voxels of a class only in the truth",
    "tn": "voxels of a class in neither",
}


def scoring(description: Description | None) -> Scoring:
    """The scores of the described classes; without a description only their meaning."""
    return Scoring(
        main="dice",
        metrics=(of(DICE, _OF), of(_HD95, _NONE), of(NSD, _OF), *_by_class(description)),
        rows=partial(rows, description),
        case_of=case_of,
        masks=masks,
        views=partial(views, description),
        brief=("dice", "hd95_mm", "nsd_1mm"),
        unlisted=tuple(f"{key}_CLASS" for key in COUNTS),
        written={"summary.json": partial(summary, description)},
    )


def _by_class(description: Description | None) -> tuple[Metric, ...]:
    """Each class's scores, of those that the truth or the answer has, and its voxels."""
    names = [one.name for one in description.classes] if description else ["CLASS"]
    kinds = (DICE, _HD95, NSD)
    scores = [of(kind, f"of {_called(name)} in a case: ", f"{kind.key}_{name}") for kind in kinds for name in names]
    counts = [
        Metric(f"{key}_{name}", COUNT, NEITHER, f"{meaning}, of {_called(name)}")
        for key, meaning in _COUNTED.items()
        for name in names
    ]
    return (*scores, *counts)


def _called(name: str) -> str:
    return "one class" if name == "CLASS" else name


def rows(description: Description | None, directory: Path, cases: Sequence[Case], answers: Sequence[Tensors]) -> Rows:
    """Each case's scores; voxels whose truth is the dataset's ignore label are not counted."""
    classes = described(description).classes
    ignored = dataset_of(directory).ignored
    pairs = zip(cases, answers, strict=True)
    return {case.id: _scores(classes, case, answer["mask"], ignored) for case, answer in pairs}


def _scores(classes: Sequence[Class], case: Case, answer: Array, ignored: int | None) -> dict[str, float]:
    labels = np.asarray(case.mask)
    counted = np.ones(labels.shape, bool) if ignored is None else labels != ignored
    found: dict[str, float] = {}
    for one in classes:
        marked, true = (np.isin(values, values_of(one)) & counted for values in (answer, labels))
        scores = _of_class(marked, true, int(np.count_nonzero(counted)), case)
        found |= {f"{key}_{one.name}": value for key, value in scores.items()}
    names = [one.name for one in classes if f"dice_{one.name}" in found]
    empty = {"dice": 1.0, "hd95_mm": 0.0, "nsd_1mm": 1.0}
    means = {
        key: float(np.mean([found[f"{key}_{name}"] for name in names])) if names else value
        for key, value in empty.items()
    }
    return means | found


def _of_class(answer: Array, truth: Array, voxels: int, case: Case) -> dict[str, float]:
    """A class's voxels; its scores where the truth or the answer has any."""
    both = overlap(answer, truth)
    wrong = both.answer_alone + both.truth_alone
    counts = map(float, (both.both, both.answer_alone, both.truth_alone, voxels - both.both - wrong))
    found = dict(zip(COUNTS, counts, strict=True))
    if not both.both + wrong:
        return found
    assert case.spacing_mm is not None, "a volume lies somewhere"
    borders = between_borders(answer, truth, case.spacing_mm)
    return {"dice": both.dice, "hd95_mm": borders.percentile(95), "nsd_1mm": surface_dice(borders), **found}


def surface_dice(borders: Distances) -> float:
    """The share of both borders' voxels that lie within the tolerance of the other border."""
    distances = np.concatenate([borders.from_answer, borders.from_truth])
    return float(np.mean(distances <= TOLERANCE_MM))


def case_of(request: Request) -> Case:
    """A request's volume as a case without truth."""
    return Case(request.name, request.tensors["image"], geometry=geometry_from(request.tensors["geometry"]))


def masks(_: Sequence[Case], answers: Sequence[Tensors]) -> list[Array]:
    """Each case's answered labels (z, y, x)."""
    return [answer["mask"] for answer in answers]


def views(description: Description | None, cases: Sequence[Case], masks: Mapping[str, Sequence[Array]]) -> list[View]:
    """The six axial slices in which the labels differ most, a mask for each class that is there."""
    case = cases[0]
    assert case.geometry is not None, "a volume lies somewhere"
    turn = orientation_of(case.geometry)
    scan = turn.seen(case.image[0])
    labels = {name: turn.seen(found[0]) for name, found in masks.items()}
    there = set(np.unique(np.concatenate([np.unique(one) for one in labels.values()])).tolist())
    classes = description.classes if description else ()
    values = [values_of(one) for one in classes if there & set(values_of(one))]
    return [
        View(
            overlay.grey(np.ascontiguousarray(scan[index])),
            {name: _planes(one[index], values) for name, one in labels.items()},
            f"{case.id}, slice {index + 1}",
        )
        for index in most_different(list(labels.values()), _SHOWN)
    ]


def _planes(labels: Array, classes: Sequence[tuple[int, ...]]) -> Array:
    """A mask for each class, (classes, row, col); one empty mask where there is none."""
    return np.stack([np.isin(labels, values) for values in classes] or [np.zeros(labels.shape, bool)])
