"""How good found nodules are: LUNA16's FROC of a submission or of answers; the candidates' masks beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from medseg.data.picture import View
from medseg.data.table import read_list
from medseg.errors import InputError
from medseg.metrics.finding import Finding
from medseg.metrics.froc import Froc, froc
from medseg.task import Array, Case, Request, Tensors
from medseg.tasks.luna.crops import crop
from medseg.tasks.luna.pipeline import NODULE_COLUMNS, mask_from_bits
from medseg.tasks.luna.tables import findings, nodules, scans

MAIN = "sensitivity"
LISTED = 0.5  # nodules from this probability on are what a reader is shown
_WINDOW_HU = (-1350, 150)
_SHOWN, _SIDE = 6, 96  # nodules, pixels
_FEWEST = 20  # voxels; a nodule's mask may lose single ones at its edge


def submission_froc(directory: Path, submission: Path) -> Froc:
    """The FROC of a submission (seriesuid, coordX, coordY, coordZ, probability) against the tables in the folder.

    Raises InputError where a file is missing or wrong, or the submission speaks of none of the scans.
    """
    marks, series = findings(submission, "probability"), series_of(directory)
    if marks and not {mark.series for mark in marks} & set(series):
        raise InputError(
            f"{submission}: names none of the {len(series)} scans of {directory}: check that they belong together"
        )
    return froc_of(directory, marks, series)


def froc_of(directory: Path, marks: Sequence[Finding], series: Sequence[str]) -> Froc:
    """The FROC of these scans' marks against the folder's tables; without a table of exclusions, none is excluded."""
    path = directory / "annotations_excluded.csv"
    return froc(marks, nodules(directory), findings(path, "diameter_mm") if path.is_file() else [], series)


def series_of(directory: Path) -> list[str]:
    """The scans that count: those `seriesuids.csv` lists, else those that are there, else those with annotations."""
    path = directory / "seriesuids.csv"
    if path.is_file():
        return read_list(path, "seriesuid")
    return list(scans(directory)) or sorted({row.series for row in nodules(directory)})


def marks(series: str, answer: Tensors) -> list[Finding]:
    """An answer's nodules as marks with their probability."""
    places = [NODULE_COLUMNS.index(f"center_{axis}_mm") for axis in "xyz"]
    probability = NODULE_COLUMNS.index("nodule_probability")
    rows = answer["nodules"]
    return [Finding(series, (x, y, z), float(row[probability])) for row in rows for x, y, z in [row[places].tolist()]]


def rows(directory: Path, cases: Sequence[Case], answers: Sequence[Tensors]) -> dict[str, dict[str, float]]:
    """Each scan's share of nodules found at probability 0.5, where it has any, and its false marks."""
    return {case.id: _scan_scores(directory, case.id, answer) for case, answer in zip(cases, answers, strict=True)}


def _scan_scores(directory: Path, series: str, answer: Tensors) -> dict[str, float]:
    listed = [mark for mark in marks(series, answer) if mark.value >= LISTED]
    annotated = [row for row in nodules(directory) if row.series == series]
    if not annotated:
        return {"nodules": 0.0, "listed": float(len(listed))}
    result = froc_of(directory, listed, [series])
    return {
        "sensitivity": result.found / result.nodules,
        "nodules": float(result.nodules),
        "false_positives": float(result.false),
        "listed": float(len(listed)),
    }


def case_of(request: Request) -> Case:
    """A request's CT as a case without truth."""
    return Case(request.name, request.tensors["ct"])


def masks(cases: Sequence[Case], answers: Sequence[Tensors]) -> list[Array]:
    """Each scan's candidates' mask (index, row, col)."""
    return [mask_from_bits(answer["mask"], case.image.shape) for case, answer in zip(cases, answers, strict=True)]


def views(cases: Sequence[Case], masks: Mapping[str, Sequence[Array]]) -> list[View]:
    """Up to six places, 96 pixels wide: the annotated nodules, or the largest candidates where there are none."""
    image, found = cases[0].image, {name: volumes[0] for name, volumes in masks.items()}
    first = next((mask for mask in found.values() if mask.any()), np.zeros(image.shape, bool))
    labels, _ = ndimage.label(first, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel())[1:]
    largest = [number for number in np.argsort(-sizes, kind="stable") if sizes[number] >= _FEWEST][:_SHOWN]
    centres = (
        ndimage.center_of_mass(first, labels, [number + 1 for number in largest])
        if largest
        else [np.array(image.shape) / 2]
    )
    return [_place(image, found, np.round(centre).astype(int)) for centre in centres]


def _place(image: Array, masks: Mapping[str, Array], centre: Array) -> View:
    shape = (1, _SIDE, _SIDE)
    low, high = _WINDOW_HU
    shown = np.clip((crop(image, centre, shape)[0].astype(np.float32) - low) / (high - low), 0, 1)
    picture = np.repeat(np.round(255 * shown).astype(np.uint8)[..., np.newaxis], 3, axis=-1)
    cut = {name: crop(mask.astype(np.int16), centre, shape)[0] > 0 for name, mask in masks.items()}
    return View(picture, cut, f"slice {centre[0] + 1}, row {centre[1]}, column {centre[2]}")
