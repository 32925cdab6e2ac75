"""LUNA16's tables as findings, and the scans they speak of."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from medseg.errors import InputError
from medseg.metrics.finding import Finding

PLACE = ("coordX", "coordY", "coordZ")
WORDS = {"True": 1.0, "False": 0.0}


def scans(directory: Path) -> dict[str, Path]:
    """The scans of a LUNA folder: series UID to `subset*/UID.mhd`, sorted by UID."""
    return {path.stem: path for path in sorted(directory.glob("subset*/*.mhd"), key=lambda path: path.stem)}


def scan_path(directory: Path, series: str) -> Path:
    """The scan of this UID. Raises InputError where the folder has none."""
    found = next(directory.glob(f"subset*/{series}.mhd"), None)
    if found is None:
        raise InputError(f"{directory}/subset*/{series}.mhd: no such scan; expected LUNA16's layout: check the folder")
    return found


def nodules(directory: Path) -> list[Finding]:
    """Every annotated nodule; the value is its diameter in mm."""
    return findings(directory / "annotations.csv", "diameter_mm")


def candidates(directory: Path, series: Iterable[str]) -> list[Finding]:
    """These scans' nodules (value 1: the annotations) and non-nodules (value 0: the candidates of class 0).

    The positives are the annotations and not the candidates of class 1, as in the reference: several
    candidates may point at one nodule, which would then be learnt, and counted, more than once.
    """
    wanted = set(series)
    positive = [Finding(row.series, row.xyz_mm, 1) for row in nodules(directory)]
    others = [row for row in findings(directory / "candidates.csv", "class") if row.value == 0]
    return [row for row in (*positive, *others) if row.series in wanted]


def malignancies(directory: Path, series: Iterable[str]) -> list[Finding]:
    """These scans' nodules that readers have voted on; value 1 is malignant, 0 benign."""
    wanted = set(series)
    return [row for row in findings(directory / "annotations_with_malignancy.csv", "mal_bool") if row.series in wanted]


def findings(path: Path, column: str) -> list[Finding]:
    """A table's rows in order. Raises InputError naming the file, and the line where a number is wrong."""
    if not path.is_file():
        raise InputError(f"{path}: no such table; expected LUNA16's csv files in this folder: copy it there")
    with path.open(newline="") as file:
        return list(_rows(csv.DictReader(file), path, column))


def _rows(reader: csv.DictReader, path: Path, column: str) -> Iterator[Finding]:
    missing = [name for name in ("seriesuid", *PLACE, column) if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{path}: has no column {', '.join(missing)}; its first line must name the columns: add it")
    for row in reader:
        x, y, z, value = (_number(row[name], path, reader.line_num) for name in (*PLACE, column))
        yield Finding(row["seriesuid"].strip(), (x, y, z), value)


def _number(text: str | None, path: Path, line: int) -> float:
    try:
        number = WORDS[text] if text in WORDS else float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{path}, line {line}: {text!r} is not a number; expected a finite number: correct the line")
    return number
