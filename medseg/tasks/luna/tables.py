"""LUNA16's tables as findings, and the scans they speak of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from medseg.data.table import Row, read_table
from medseg.errors import InputError
from medseg.metrics.finding import Finding

PLACE = ("coordX", "coordY", "coordZ")
_CLASSES = {"class": ("0", "1"), "mal_bool": ("False", "True")}  # the columns that hold one of two, and how


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

    The positives are the annotations and not the candidates of class 1, as in the reference: several candidates may
    belong to one nodule, which would then be trained on, and counted, more than once.
    """
    wanted = set(series)
    positive = [Finding(row.series, row.xyz_mm, 1) for row in nodules(directory)]
    others = [row for row in findings(directory / "candidates.csv", "class") if row.value == 0]
    return [row for row in (*positive, *others) if row.series in wanted]


def malignancies(directory: Path, series: Iterable[str]) -> list[Finding]:
    """These scans' nodules that readers have rated; value 1 is malignant, 0 benign."""
    wanted = set(series)
    return [row for row in findings(directory / "annotations_with_malignancy.csv", "mal_bool") if row.series in wanted]


def findings(path: Path, column: str) -> list[Finding]:
    """A table's rows in order. Raises InputError naming the file, and the line where a cell is wrong."""
    if column in _CLASSES:
        return [
            _finding(row, _class(row, column, path), path) for row in read_table(path, ("seriesuid", column), PLACE)
        ]
    return [_finding(row, row.numbers[3], path) for row in read_table(path, ("seriesuid",), (*PLACE, column))]


def _class(row: Row, column: str, path: Path) -> float:
    """0 or 1, however a spreadsheet or pandas writes it."""
    word = row.texts[1].lower().removesuffix(".0")
    if word not in ("0", "1", "false", "true"):
        raise InputError(
            f"{path}, line {row.line}: {column} is {row.texts[1][:20]!r}; expected {' or '.join(_CLASSES[column])}: "
            "correct the line"
        )
    return float(word in ("1", "true"))


def _finding(row: Row, value: float, path: Path) -> Finding:
    if not row.texts[0]:
        raise InputError(f"{path}, line {row.line}: names no seriesuid; expected a scan's: correct the line")
    x, y, z = row.numbers[:3]
    return Finding(row.texts[0], (x, y, z), value)
