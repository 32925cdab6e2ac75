"""A CSV of pairs: each line has a picture and its mask, or a picture and one mask per class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.data.table import read_records
from medseg.errors import InputError

PICTURE, MASK, PATIENT, OF_CLASS = "picture", "mask", "patient", "mask:"


@dataclass(frozen=True)
class Pair:
    """One line of the CSV."""

    root: Path  # the folder of the CSV
    picture: Path
    patient: str
    mask: Path | None
    masks: Mapping[str, Path]  # by class

    @property
    def facts(self) -> tuple[Path, str, Path | None, Mapping[str, Path]]:
        """The fields of an `Entry` after its id."""
        return self.picture, self.patient, self.mask, self.masks


def read_pairs(table: Path) -> list[Pair]:
    """The lines of a CSV of pairs. Raises InputError for an unknown column, and for a path outside of its folder."""
    rows = read_records(table, (PICTURE,))
    for name in rows[0][1] if rows else ():
        if name not in (PICTURE, MASK, PATIENT) and not name.startswith(OF_CLASS):
            raise InputError(
                f"{table}: has a column {name[:40]!r}; expected {PICTURE}, {MASK} or {OF_CLASS} CLASS, and {PATIENT}: "
                "rename or remove it"
            )
    return [_pair(table, line, cells) for line, cells in rows]


def _pair(table: Path, line: int, cells: Mapping[str, str]) -> Pair:
    where = f"{table}, line {line}"
    if not cells[PICTURE]:
        raise InputError(f"{where}: names no picture; expected a path below {table.parent}: correct the line")
    picture = _path(table, where, cells[PICTURE])
    named = {name.removeprefix(OF_CLASS).strip(): cell for name, cell in cells.items() if name.startswith(OF_CLASS)}
    masks = {name: _path(table, where, cell) for name, cell in named.items() if cell}
    mask = _path(table, where, cells[MASK]) if cells.get(MASK) else None
    if mask and masks:
        raise InputError(
            f"{where}: names both a mask and masks of classes; expected one or the other: correct the line"
        )
    return Pair(table.parent, picture, cells.get(PATIENT) or cells[PICTURE], mask, masks)


def _path(table: Path, where: str, cell: str) -> Path:
    path = Path(cell.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise InputError(
            f"{where}: {cell[:80]!r} is not a path below {table.parent}: move the file there, and name it so"
        )
    return table.parent / path
