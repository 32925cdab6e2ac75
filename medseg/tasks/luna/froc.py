"""LUNA16's FROC of a submission's marks, or of answers', against a folder's tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medseg.data.table import read_list
from medseg.errors import InputError
from medseg.metrics.finding import Finding
from medseg.metrics.froc import Froc, counted, judged
from medseg.metrics.froc_bands import Band, bands
from medseg.scoring import Mean, Overall, Submitted
from medseg.task import Tensors
from medseg.tasks.luna.pipeline import NODULE_COLUMNS
from medseg.tasks.luna.tables import findings, nodules, scans


def submission_froc(directory: Path, submission: Path) -> Froc:
    """The FROC of a submission (seriesuid, coordX, coordY, coordZ, probability) against the tables in the folder.

    Raises InputError where a file is missing or wrong, or the submission names none of the scans.
    """
    return froc_of(directory, *_submission(directory, submission))


def submitted(directory: Path, submission: Path) -> Submitted:
    """The same with intervals, and with notes of what does not count."""
    found, series = _submission(directory, submission)
    strange = sum(mark.series not in set(series) for mark in found)
    note = f"{strange} of {len(found)} marks lie in scans that {directory} does not list: they do not count"
    return Submitted({}, overall_of(directory, found, series), (note,) if strange else ())


def _submission(directory: Path, submission: Path) -> tuple[list[Finding], list[str]]:
    found, series = _marks_of(submission), series_of(directory)
    if found and not {mark.series for mark in found} & set(series):
        raise InputError(
            f"{submission}: names none of the {len(series)} scans of {directory}: check that they belong together"
        )
    return found, series


def _marks_of(submission: Path) -> list[Finding]:
    """A submission's marks. Raises InputError where one is no probability, or stands there twice."""
    found = findings(submission, "probability")
    first: dict[tuple[str, tuple[float, float, float]], int] = {}
    for number, mark in enumerate(found, 1):
        if not 0 <= mark.value <= 1:
            raise InputError(
                f"{submission}: mark {number} has the probability {mark.value:g}; expected 0 to 1: correct it"
            )
    for number, mark in enumerate(found, 1):
        before = first.setdefault((mark.series, mark.xyz_mm), number)
        if before != number:
            raise InputError(
                f"{submission}: mark {number} is at the place of mark {before}; expected each once: remove one of them"
            )
    return found


def overall_of(directory: Path, marks: Sequence[Finding], series: Sequence[str]) -> Overall:
    """The FROC of all these scans together, with 95 % intervals where there are several; counts beside."""
    scans = judged(marks, *truth_of(directory), series)
    whole, spread = counted(scans), bands(scans)
    cpm = _mean(whole, whole.cpm, spread.cpm if spread else None)
    rates = {
        f"sensitivity_at_{rate:g}": _mean(whole, value, spread.sensitivity[rate] if spread else None)
        for rate, value in whole.sensitivity.items()
    }
    counts = {
        "scans": whole.scans,
        "scans_with_marks": len({mark.series for mark in marks} & set(series)),
        "all_nodules": whole.nodules,
        "nodules_hit": whole.found,
        "false_marks": whole.false,
    }
    return Overall({"cpm": cpm} | rates, counts)


def _mean(whole: Froc, value: float, band: Band | None) -> Mean:
    low, high = band or (None, None)
    return Mean(value, low, high, whole.scans)


def froc_of(directory: Path, marks: Sequence[Finding], series: Sequence[str]) -> Froc:
    """The FROC of these scans' marks against the folder's tables; without a table of exclusions, none is excluded."""
    return counted(judged(marks, *truth_of(directory), series))


def truth_of(directory: Path) -> tuple[list[Finding], list[Finding]]:
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
    """An answer's nodules as marks with their probability. Raises InputError for what is not a table of nodules."""
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
