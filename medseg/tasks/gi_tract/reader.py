"""Reads the UW-Madison GI tract collection's files as cases and as samples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from medseg.data import rle
from medseg.data.encoded import GREY16, check, encoded_tensor, orientation_of, portable
from medseg.data.grid import NEAREST, resized
from medseg.data.image import read_bytes, read_image
from medseg.data.samples import Sample, Samples
from medseg.data.split import Split, folds
from medseg.data.table import read_table
from medseg.errors import InputError
from medseg.task import Array, Case, Geometry, Tensors, Unread
from medseg.tasks.gi_tract.networks import GI_TRACT
from medseg.tasks.gi_tract.pipeline import SIZE, prepare

SLICE_MM = 3.0  # thickness of every slice, by the competition's description; the files do not state it
_NAME = re.compile(r"slice_(\d+)_(\d+)_(\d+)_(\d+\.\d+)_(\d+\.\d+)\.png", re.ASCII | re.IGNORECASE)
_ID = re.compile(r"case\d+_day\d+_slice_\d+", re.ASCII)
COLUMNS = ("id", "class", "segmentation")

Truth = Mapping[str, Mapping[str, str]]  # slice id -> class -> run-length text


@dataclass(frozen=True)
class Slice:
    """One slice's file, and the facts in its path: `train/case7/case7_day0/scans/slice_0001_266_266_1.50_1.50.png`."""

    path: Path
    id: str  # case7_day0_slice_0001
    shape: tuple[int, int]  # rows, columns; the name gives the width first
    spacing_mm: tuple[float, float]  # between rows, between columns

    @property
    def day(self) -> str:
        """The scan it belongs to: case7_day0."""
        return self.id.split("_slice_")[0]


def patients(directory: Path) -> Sequence[str]:
    """The cases, with `case7` before `case101`; a case may have scans of several days."""
    found = (path for path in (directory / "train").glob("case*") if path.is_dir())
    return sorted((path.name for path in found), key=lambda name: (len(name), name))


def slices(directory: Path, patient: str) -> list[Slice]:
    """A case's slices by day and number.

    Raises InputError for a file whose name does not state size and spacing, that lies in another case's folder, or
    that has another size than its day's first slice; and for two files of one slice.
    """
    found = [slice_of(path) for path in slice_paths(directory, patient)]
    first: dict[str, Slice] = {}
    seen: dict[str, Slice] = {}
    for one in found:
        if not re.fullmatch(rf"{re.escape(patient)}_day\d+", one.day):
            raise InputError(f"{one.path}: lies below {patient}; expected a folder {patient}_dayD: move it")
        if first.setdefault(one.day, one).shape != one.shape:
            raise InputError(
                f"{one.path}: does not have the size of {first[one.day].path.name} of the same day: move it"
            )
        if seen.setdefault(one.id, one) is not one:
            raise InputError(f"{one.path}: is the same slice as {seen[one.id].path.name}: remove one of them")
    return found


def slice_paths(directory: Path, patient: str) -> list[Path]:
    """A case's PNG files by day and name."""
    found = (directory / "train" / patient).glob("*/scans/*")
    return sorted(path for path in found if path.suffix.lower() == ".png" and not path.name.startswith("."))


def truths(directory: Path) -> Truth:
    """`train.csv` by slice and class; empty where there is no file. Raises InputError with the first wrong line."""
    table, problems = table_of(directory)
    if problems:
        raise InputError(problems[0])
    return table


def table_of(directory: Path) -> tuple[Truth, list[str]]:
    """The usable rows of `train.csv`, and a sentence for each problem in it."""
    path = directory / "train.csv"
    try:
        return _table(path, path.stat().st_mtime_ns) if path.is_file() else ({}, [])
    except InputError as error:
        return {}, [str(error)]


def read(directory: Path, patient: str) -> Sequence[Case]:
    """A case's slices (row, col) uint16, each with a mask (3, row, col) uint8: large bowel, small bowel, stomach.

    The organs may overlap. The mask is None for a slice that `train.csv` does not list. Raises InputError with the name
    of what cannot be read.
    """
    found, truth = slices(directory, patient), truths(directory)
    if not found:
        raise InputError(f"{directory}/train/{patient}: holds no slices; expected {patient}_dayD/scans/slice_*.png")
    listed = {one.id for one in labelled(directory, patient)}
    return [_case(one, truth if one.id in listed else {}, directory) for one in found]


def labelled(directory: Path, patient: str) -> list[Slice]:
    """A case's slices that `train.csv` lists.

    Raises InputError where it lists some slices of a day but not all that have files.
    """
    truth, found = truths(directory), slices(directory, patient)
    days = {name.split("_slice_")[0] for name in truth}
    for one in found:
        if one.day in days and one.id not in truth:
            raise InputError(
                f"{directory / 'train.csv'}: lists other slices of {one.day}, but not {one.id}, which is there; "
                "expected three rows for every slice of a day: add them, empty where there is no organ"
            )
    return [one for one in found if one.id in truth]


def cases(directory: Path, patient: str) -> list[Unread]:
    """A case's slices, not read yet, in the order of `read`."""
    known = {one.id for one in labelled(directory, patient)}
    found = slices(directory, patient)
    return [Unread(one.id, partial(_asked, one.path), (one.path,), patient, one.id in known) for one in found]


def _asked(path: Path) -> Tensors:
    return {"encoded": encoded_tensor([read_bytes(path)])}


def samples(directory: Path, patients: Sequence[str]) -> Samples:
    """The labelled slices of these cases: (3, 224, 224) float32, mask (3, 224, 224) uint8; read on demand."""
    truth, table = truths(directory), directory / "train.csv"
    found = [(patient, one) for patient in patients for one in labelled(directory, patient)]
    chosen = tuple((one, truth[one.id]) for _, one in found)
    foreground = [_pixels(one, runs, table) for one, runs in chosen]
    names, sizes = tuple(patient for patient, _ in found), np.array(foreground, float)
    return Samples(partial(_sample, table, chosen), names, sizes, partial(_encoded, table, chosen))


def split(directory: Path, seed: int = 0, fold: int = 0) -> Split:
    """One of five folds of the labelled slices, stratified by empty masks and grouped by case."""
    return folds(samples(directory, patients(directory)), 5, fold, seed)


def read_slice(one: Slice) -> Array:
    """A slice's pixels (row, col) uint16. Raises InputError where its size is not the one in its name."""
    picture = read_image(one.path, GREY16)
    check_size(one.path, picture.shape)
    return picture


def check_size(path: Path, shape: tuple[int, ...]) -> None:
    """Raise InputError where a slice's name states other rows and columns than the picture has as it is shown."""
    named = named_size(path)
    if named not in (None, shape):
        turned = orientation_of(read_bytes(path), GREY16, str(path))
        why = f" as viewers display it, following its EXIF orientation {turned}" if turned > 1 else ""
        raise InputError(f"{path}: is {shape} pixels{why}; its name says {named} rows and columns: rename it")


def named_size(path: Path) -> tuple[int, int] | None:
    """Rows and columns from a slice's name; None where the name has another form."""
    match = _NAME.fullmatch(path.name)
    return (int(match[3]), int(match[2])) if match else None


def read_mask(one: Slice, runs: Mapping[str, str], where: Path) -> Array:
    """A slice's mask (3, row, col) uint8. Raises InputError, with the table and the slice, where a text is wrong."""
    try:
        return np.stack([rle.decode(runs.get(name, ""), one.shape) for name in GI_TRACT.classes])
    except InputError as error:
        raise InputError(f"{where}, {one.id}: {error}") from error


def _pixels(one: Slice, runs: Mapping[str, str], where: Path) -> int:
    """How many pixels a slice's texts set. Raises InputError, with the table and the slice, where a text is wrong."""
    try:
        return sum(rle.pixels(text) for text in runs.values())
    except InputError as error:
        raise InputError(f"{where}, {one.id}: {error}") from error


def slice_of(path: Path) -> Slice:
    """The facts in a slice's path. Raises InputError where its name does not state size and spacing."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise InputError(f"{path}: expected a name like slice_0001_266_266_1.50_1.50.png: rename the file")
    number, width, height, x_mm, y_mm = match.groups()
    if not (float(x_mm) > 0 and float(y_mm) > 0):
        raise InputError(f"{path}: says that pixels are {x_mm} x {y_mm} mm; expected more than 0: rename the file")
    return Slice(path, f"{path.parts[-3]}_slice_{number}", (int(height), int(width)), (float(y_mm), float(x_mm)))


def _case(one: Slice, truth: Truth, directory: Path) -> Case:
    mask = read_mask(one, truth[one.id], directory / "train.csv") if one.id in truth else None
    return Case(one.id, read_slice(one), mask, Geometry((*one.spacing_mm[::-1], SLICE_MM)))


def _sample(table: Path, chosen: Sequence[tuple[Slice, Mapping[str, str]]], index: int) -> Sample:
    one, runs = chosen[index]
    mask = read_mask(one, runs, table)
    return prepare(read_slice(one)), resized(mask, SIZE, NEAREST)


def _encoded(table: Path, chosen: Sequence[tuple[Slice, Mapping[str, str]]], index: int) -> tuple[bytes, Array]:
    one, runs = chosen[index]
    content = read_bytes(one.path)
    check_size(one.path, check(content, GREY16, str(one.path)))
    return portable(content, GREY16), read_mask(one, runs, table)


@lru_cache(maxsize=1)
def _table(path: Path, _changed: int) -> tuple[Truth, list[str]]:
    table: dict[str, dict[str, str]] = {}
    problems = []
    for row in read_table(path, COLUMNS):
        name, organ, runs = row.texts
        wrong = _wrong(name, organ, table)
        if wrong:
            problems.append(f"{path}, line {row.line}: {wrong}")
        else:
            table.setdefault(name, {})[organ] = runs
    lacking = ((name, organ) for name, organs in table.items() for organ in GI_TRACT.classes if organ not in organs)
    problems += [
        f"{path}: lacks the row of {name}, {organ}; expected three rows per slice: add it" for name, organ in lacking
    ]
    return table, problems


def _wrong(name: str, organ: str, table: Truth) -> str | None:
    """What is wrong with the next row, of this id and class, after the rows in the table; None if nothing is."""
    if not _ID.fullmatch(name):
        return f"has the id {name[:60]!r}; expected one like case7_day0_slice_0001: correct the line"
    if organ not in GI_TRACT.classes:
        return f"has the class {organ[:40]!r}; expected one of {', '.join(GI_TRACT.classes)}: correct the line"
    if organ in table.get(name, {}):
        return f"is a second row of {name}, {organ}; expected one: remove the other"
    return None
