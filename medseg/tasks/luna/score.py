"""The scores of found nodules: LUNA16's FROC over all scans, each scan's own scores; pictures of answer and truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import scipy

from medseg.data.picture import View
from medseg.data.voxels import Volume
from medseg.metrics.definitions import COUNT, HIGHER, LOWER, NEITHER, SHARE, Metric
from medseg.metrics.froc import FALSE_POSITIVES, judged
from medseg.scoring import Overall, Rows, Scoring
from medseg.task import Array, Case, Request, Tensors
from medseg.tasks.luna import files, tables
from medseg.tasks.luna.beside import beside_truth
from medseg.tasks.luna.crops import crop
from medseg.tasks.luna.froc import froc_of, marks, overall_of, submitted, truth_of
from medseg.tasks.luna.pipeline import mask_from_bits

LISTED = 0.5  # nodules with at least this probability are shown to a reader
LIKELY = (
    0.01  # nodules with at least this probability are marks if not every candidate is listed, which takes much longer
)
_LIKELY = f"from marks with a probability of {LIKELY} or more, as in a benchmark: "
_CPM = "the mean sensitivity at " + ", ".join(f"{rate:g}" for rate in FALSE_POSITIVES) + " false positives per scan"
_AT = "the share of all scans' nodules that are hit at this number of false positives per scan"
METRICS = (
    Metric("cpm", SHARE, HIGHER, f"LUNA16's score, over all scans, from every candidate: {_CPM}"),
    Metric("sensitivity_at_RATE", SHARE, HIGHER, f"LUNA16's FROC, from every candidate: {_AT}"),
    Metric("likely_cpm", SHARE, HIGHER, f"over all scans, {_LIKELY}{_CPM}"),
    Metric("likely_sensitivity_at_RATE", SHARE, HIGHER, f"{_LIKELY}{_AT}"),
    Metric("scan_cpm", SHARE, HIGHER, f"of a single scan, if it has nodules, {_LIKELY}{_CPM}"),
    Metric("sensitivity", SHARE, HIGHER, "the share of a scan's annotated nodules that are listed"),
    Metric("false_positives", COUNT, LOWER, "nodules of a scan's list that are neither annotated nor excluded"),
    Metric("listed", COUNT, NEITHER, f"nodules of a scan's list: those with a probability of {LISTED} or more"),
    Metric("nodules", COUNT, NEITHER, "annotated nodules of a scan"),
    Metric("scans", COUNT, NEITHER, "the number of scans"),
    Metric("scans_with_marks", COUNT, NEITHER, "scans with at least one mark"),
    Metric("all_nodules", COUNT, NEITHER, "annotated nodules of all scans"),
    Metric("nodules_hit", COUNT, HIGHER, "annotated nodules that a mark hits"),
    Metric("false_marks", COUNT, LOWER, "marks that hit nothing, over all scans"),
)
_WINDOW_HU = (-1350, 150)
_SHOWN, _SIDE = 6, 96  # nodules, pixels
_FEWEST = 20  # voxels; a nodule's mask may lose single ones at its edge


def rows(directory: Path, cases: Sequence[Case], answers: Sequence[Tensors]) -> Rows:
    """Each scan's nodules, what of its list is right, and, where it has nodules, its share of them and its own CPM."""
    return {case.id: _scan_scores(directory, case.id, answer) for case, answer in zip(cases, answers, strict=True)}


def _scan_scores(directory: Path, series: str, answer: Tensors) -> dict[str, float]:
    found = marks(series, answer)
    listed = [mark for mark in found if mark.value >= LISTED]
    (scan,) = judged(listed, *truth_of(directory), [series])
    scores = {"false_positives": float(len(scan.false)), "listed": float(len(listed)), "nodules": float(scan.nodules)}
    if not scan.nodules:
        return scores
    likely = [mark for mark in found if mark.value >= LIKELY]
    return {
        "scan_cpm": froc_of(directory, likely, [series]).cpm,
        "sensitivity": len(scan.hits) / scan.nodules,
        **scores,
    }


def overall(directory: Path, scans: Rows, kept: Mapping[str, Tensors], options: Mapping[str, float]) -> Overall:
    """The FROC of all scans together where they have nodules; by another name if not every candidate was asked for."""
    if not sum(scan["nodules"] for scan in scans.values()):
        return Overall()
    found = list(chain.from_iterable(marks(series, answer) for series, answer in kept.items()))
    whole = overall_of(directory, found, list(scans))
    if not options.get("threshold"):
        return whole
    counts = {name: whole.counts[name] for name in ("scans", "all_nodules")}
    return Overall({f"likely_{name}": mean for name, mean in whole.means.items()}, counts)


def case_of(request: Request) -> Case:
    """A request's CT as a case without truth."""
    return Case(request.name, request.tensors["ct"])


def masks(cases: Sequence[Case], answers: Sequence[Tensors]) -> list[Array]:
    """Each scan's candidates' mask (index, row, col)."""
    return [mask_from_bits(answer["candidates"], case.image.shape) for case, answer in zip(cases, answers, strict=True)]


def views(cases: Sequence[Case], masks: Mapping[str, Sequence[Array]]) -> list[View]:
    """Up to six places, 96 pixels wide: the annotated nodules, or the largest candidates where there are none."""
    image, found = cases[0].image, {name: volumes[0] for name, volumes in masks.items()}
    first = next((mask for mask in found.values() if mask.any()), np.zeros(image.shape, bool))
    labels, _ = scipy.ndimage.label(first, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    largest = [number for number in np.argsort(-sizes, kind="stable") if sizes[number] >= _FEWEST][:_SHOWN]
    centres = (
        scipy.ndimage.center_of_mass(first, labels, [number + 1 for number in largest])
        if largest
        else [np.array(image.shape) / 2]
    )
    return [_place(image, found, np.round(centre).astype(int)) for centre in centres]


def drawn(directory: Path, case: Case, answers: Mapping[str, Tensors]) -> Array:
    """A CT's annotated nodules beside the answers' marks, (h, w, 3) uint8."""
    assert case.geometry is not None, "a CT's file holds its geometry"
    volume = Volume(Path(case.id), case.image, case.geometry)
    truth = [row for row in tables.nodules(directory) if row.series == case.id]
    masks = {name: mask_from_bits(one["candidates"], case.image.shape) for name, one in answers.items()}
    rows = {name: files.nodules(one["nodules"]) for name, one in answers.items()}
    return beside_truth(volume, masks, rows, truth)


def _place(image: Array, masks: Mapping[str, Array], centre: Array) -> View:
    shape = (1, _SIDE, _SIDE)
    low, high = _WINDOW_HU
    shown = np.clip((crop(image, centre, shape)[0].astype(np.float32) - low) / (high - low), 0, 1)
    grey = np.repeat(np.round(255 * shown).astype(np.uint8)[..., np.newaxis], 3, axis=-1)
    cut = {name: crop(mask.astype(np.int16), centre, shape)[0] > 0 for name, mask in masks.items()}
    return View(grey, cut, f"slice {centre[0] + 1}, row {centre[1]}, column {centre[2]}")


SCORING = Scoring(
    main="scan_cpm",
    metrics=METRICS,
    rows=rows,
    case_of=case_of,
    masks=masks,
    views=views,
    brief=("scan_cpm", "sensitivity", "false_positives", "listed"),
    overall=overall,
    kept=("nodules",),
    measured={"threshold": LIKELY},
    drawn=drawn,
    submission=submitted,
)
