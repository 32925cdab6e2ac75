"""How good found nodules are: LUNA16's FROC of a submission or of answers; the candidates' masks beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from medseg.data.picture import View
from medseg.data.table import read_list
from medseg.errors import InputError
from medseg.metrics.definitions import COUNT, HIGHER, LOWER, NEITHER, SHARE, Metric
from medseg.metrics.finding import Finding
from medseg.metrics.froc import Froc, counted, judged
from medseg.metrics.froc_bands import bands
from medseg.task import Array, Case, Request, Scoring, Tensors
from medseg.tasks.luna.crops import crop
from medseg.tasks.luna.pipeline import NODULE_COLUMNS, mask_from_bits
from medseg.tasks.luna.tables import findings, nodules, scans

MAIN = "sensitivity"
LISTED = 0.5  # nodules from this probability on are what a reader is shown
SENSITIVITY = Metric("sensitivity", SHARE, HIGHER, "the share of a scan's annotated nodules that are listed")
FALSE = Metric("false_positives", COUNT, LOWER, "nodules of a scan's list that are neither annotated nor excluded")
NODULES = Metric("nodules", COUNT, NEITHER, "annotated nodules of a scan")
ALL_LISTED = Metric("listed", COUNT, NEITHER, f"nodules of a scan's list: those with a probability of {LISTED} or more")
EVALUATED = (
    Metric(
        "cpm",
        SHARE,
        HIGHER,
        "LUNA16's score, over all scans: the mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives a scan",
    ),
    SENSITIVITY,
    NODULES,
    FALSE,
    ALL_LISTED,
)
BENCHED = (
    Metric("cpm", SHARE, HIGHER, "as LUNA16's, but of one scan by itself, from its marks with a probability over 0.01"),
    SENSITIVITY,
    FALSE,
    ALL_LISTED,
)
_WINDOW_HU = (-1350, 150)
_SHOWN, _SIDE = 6, 96  # nodules, pixels
_FEWEST = 20  # voxels; a nodule's mask may lose single ones at its edge


def submission_froc(directory: Path, submission: Path) -> Froc:
    """The FROC of a submission (seriesuid, coordX, coordY, coordZ, probability) against the tables in the folder.

    Raises InputError where a file is missing or wrong, or the submission speaks of none of the scans.
    """
    return froc_of(directory, *_submission(directory, submission))


def submission_record(directory: Path, submission: Path) -> dict[str, Any]:
    """The same as plain values with intervals, and with notes of what does not count."""
    marks, series = _submission(directory, submission)
    listed = set(series)
    strange = sum(mark.series not in listed for mark in marks)
    note = f"{strange} of {len(marks)} marks lie in scans that {directory} does not list: they do not count"
    return record_of(directory, marks, series) | {"notes": [note] if strange else []}


def _submission(directory: Path, submission: Path) -> tuple[list[Finding], list[str]]:
    marks, series = submitted(submission), series_of(directory)
    if marks and not {mark.series for mark in marks} & set(series):
        raise InputError(
            f"{submission}: names none of the {len(series)} scans of {directory}: check that they belong together"
        )
    return marks, series


def submitted(submission: Path) -> list[Finding]:
    """A submission's marks. Raises InputError where one is no probability, or stands there twice."""
    marks = findings(submission, "probability")
    for number, mark in enumerate(marks, 1):
        if not 0 <= mark.value <= 1:
            raise InputError(
                f"{submission}: mark {number} has the probability {mark.value:g}; expected 0 to 1: correct it"
            )
    first: dict[tuple[Any, ...], int] = {}
    for number, mark in enumerate(marks, 1):
        before = first.setdefault((mark.series, mark.xyz_mm), number)
        if before != number:
            raise InputError(
                f"{submission}: mark {number} is at the place of mark {before}; expected each once: remove one of them"
            )
    return marks


def record_of(directory: Path, marks: Sequence[Finding], series: Sequence[str]) -> dict[str, Any]:
    """The FROC of all these scans together as plain values, with 95 % intervals where there are several scans."""
    scans = judged(marks, *_truth(directory), series)
    whole, spread = counted(scans), bands(scans)
    intervals = spread and {
        "cpm": spread.cpm,
        "sensitivity": {f"{rate:g}": band for rate, band in spread.sensitivity.items()},
    }
    return {
        "cpm": whole.cpm,
        "sensitivity": {f"{rate:g}": value for rate, value in whole.sensitivity.items()},
        "intervals": intervals,
        "scans": whole.scans,
        "scans_with_marks": len({mark.series for mark in marks} & set(series)),
        "nodules": whole.nodules,
        "nodules_hit": whole.found,
        "false_marks": whole.false,
    }


def froc_of(directory: Path, marks: Sequence[Finding], series: Sequence[str]) -> Froc:
    """The FROC of these scans' marks against the folder's tables; without a table of exclusions, none is excluded."""
    return counted(judged(marks, *_truth(directory), series))


def _truth(directory: Path) -> tuple[list[Finding], list[Finding]]:
    """The folder's nodules, and the findings that it excludes."""
    path = directory / "annotations_excluded.csv"
    return nodules(directory), findings(path, "diameter_mm") if path.is_file() else []


def series_of(directory: Path) -> list[str]:
    """The scans that count: those `seriesuids.csv` lists, else those that are there, else those with annotations."""
    path = directory / "seriesuids.csv"
    if path.is_file():
        return read_list(path, "seriesuid")
    return list(scans(directory)) or sorted({row.series for row in nodules(directory)})


def marks(series: str, answer: Tensors) -> list[Finding]:
    """An answer's nodules as marks with their probability. Raises InputError for what is no table of nodules."""
    columns = len(NODULE_COLUMNS)
    if answer["nodules"].ndim != 2 or answer["nodules"].shape[1] not in (columns, columns + 1):
        raise InputError(
            f"the answer's nodules are a table of shape {answer['nodules'].shape}; expected {columns} columns, or "
            f"{columns + 1} with the malignancy: check what answered"
        )
    places = [NODULE_COLUMNS.index(f"center_{axis}_mm") for axis in "xyz"]
    probability = NODULE_COLUMNS.index("nodule_probability")
    rows = answer["nodules"]
    return [Finding(series, (x, y, z), float(row[probability])) for row in rows for x, y, z in [row[places].tolist()]]


def rows(directory: Path, cases: Sequence[Case], answers: Sequence[Tensors]) -> dict[str, dict[str, float]]:
    """Each scan's share of nodules found at probability 0.5, where it has any, and its false marks."""
    return {case.id: _scan_scores(directory, case.id, answer) for case, answer in zip(cases, answers, strict=True)}


def _scan_scores(directory: Path, series: str, answer: Tensors) -> dict[str, float]:
    listed = [mark for mark in marks(series, answer) if mark.value >= LISTED]
    (scan,) = judged(listed, *_truth(directory), [series])
    found = {"sensitivity": len(scan.hits) / scan.nodules} if scan.nodules else {}
    return found | {
        "nodules": float(scan.nodules),
        "false_positives": float(len(scan.false)),
        "listed": float(len(listed)),
    }


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


SCORING = Scoring(MAIN, EVALUATED, BENCHED, rows, case_of, masks, views)
