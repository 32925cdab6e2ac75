"""The UW-Madison GI tract collection's files as cases and as samples."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from medseg.data import rle
from medseg.data.encoded import GREY16, check, encoded_tensor
from medseg.data.grid import NEAREST, resized
from medseg.data.image import read_bytes, read_image
from medseg.data.samples import Sample, Samples
from medseg.data.split import Split, folds
from medseg.errors import InputError
from medseg.task import Array, Case, Geometry, Tensors
from medseg.tasks.gi_tract.networks import GI_TRACT
from medseg.tasks.gi_tract.pipeline import SIZE, prepare

SLICE_MM = 3.0  # thickness of every slice, by the competition's description; the files do not hold it
_NAME = re.compile(r"slice_(\d+)_(\d+)_(\d+)_(\d+\.\d+)_(\d+\.\d+)\.png")

Truth = Mapping[str, Mapping[str, str]]  # slice id -> class -> run-length text


@dataclass(frozen=True)
class Slice:
    """One slice's file, and what its path says: `train/case7/case7_day0/scans/slice_0001_266_266_1.50_1.50.png`."""

    path: Path
    id: str  # case7_day0_slice_0001
    shape: tuple[int, int]  # rows, columns; the name gives the width first
    spacing_mm: tuple[float, float]  # between rows, between columns

    @property
    def day(self) -> str:
        """The scan it belongs to: case7_day0."""
        return self.id.split("_slice_")[0]


def patients(directory: Path) -> Sequence[str]:
    """The cases, `case7` before `case101`; a case may have been scanned on several days."""
    found = (path for path in (directory / "train").glob("case*") if path.is_dir())
    return sorted((path.name for path in found), key=lambda name: (len(name), name))


def slices(directory: Path, patient: str) -> list[Slice]:
    """A case's slices by day and number. Raises InputError for a file whose name does not tell size and spacing."""
    return [slice_of(path) for path in sorted((directory / "train" / patient).glob("*/scans/*.png"))]


def truths(directory: Path) -> Truth:
    """`train.csv` by slice and class; empty where there is no file. Raises InputError where a column is missing."""
    path = directory / "train.csv"
    return _table(path, path.stat().st_mtime_ns) if path.is_file() else {}


def read(directory: Path, patient: str) -> Sequence[Case]:
    """A case's slices: (row, col) uint16, mask (3, row, col) uint8: large and small bowel, stomach; they may overlap.

    The mask is None for a slice that `train.csv` does not list. Raises InputError naming what cannot be read.
    """
    found, truth = slices(directory, patient), truths(directory)
    if not found:
        raise InputError(f"{directory}/train/{patient}: holds no slices; expected {patient}_dayD/scans/slice_*.png")
    return [_case(one, truth, directory) for one in found]


def questions(directory: Path, patient: str) -> list[Tensors]:
    """What the pipeline is asked for each of the patient's cases, in the order of `read`."""
    return [{"encoded": encoded_tensor([read_bytes(one.path)])} for one in slices(directory, patient)]


def samples(directory: Path, patients: Sequence[str]) -> Samples:
    """The labelled slices of these cases: (3, 224, 224) float32 and (3, 224, 224) uint8, read when asked for."""
    truth = truths(directory)
    found = [(patient, one) for patient in patients for one in slices(directory, patient) if one.id in truth]
    chosen = tuple((one, truth[one.id]) for _, one in found)
    foreground = [sum(rle.pixels(text) for text in runs.values()) for _, runs in chosen]
    names, sizes = tuple(patient for patient, _ in found), np.array(foreground, float)
    return Samples(partial(_sample, chosen), names, sizes, partial(_encoded, chosen))


SAMPLES = {GI_TRACT.name: samples}


def split(directory: Path, seed: int = 0, fold: int = 0) -> Split:
    """One of five folds of the labelled slices, stratified by emptiness and grouped by case."""
    return folds(samples(directory, patients(directory)), 5, fold, seed)


def read_slice(one: Slice) -> Array:
    """A slice's pixels (row, col) uint16. Raises InputError where they are not as many as its name says."""
    picture = read_image(one.path, GREY16)
    if picture.shape != one.shape:
        raise InputError(
            f"{one.path}: is {picture.shape} pixels; its name says {one.shape} rows and columns: rename it"
        )
    return picture


def read_mask(one: Slice, runs: Mapping[str, str], where: Path) -> Array:
    """A slice's mask (3, row, col) uint8. Raises InputError naming the table and the slice where a text is wrong."""
    try:
        return np.stack([rle.decode(runs.get(name, ""), one.shape) for name in GI_TRACT.classes])
    except InputError as error:
        raise InputError(f"{where}, {one.id}: {error}") from error


def slice_of(path: Path) -> Slice:
    """What a slice's path says. Raises InputError where its name does not tell size and spacing."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise InputError(f"{path}: expected a name like slice_0001_266_266_1.50_1.50.png: rename the file")
    number, width, height, x_mm, y_mm = match.groups()
    return Slice(path, f"{path.parts[-3]}_slice_{number}", (int(height), int(width)), (float(y_mm), float(x_mm)))


def _case(one: Slice, truth: Truth, directory: Path) -> Case:
    mask = read_mask(one, truth[one.id], directory / "train.csv") if one.id in truth else None
    return Case(one.id, read_slice(one), mask, Geometry((*one.spacing_mm[::-1], SLICE_MM)))


def _sample(chosen: Sequence[tuple[Slice, Mapping[str, str]]], index: int) -> Sample:
    one, runs = chosen[index]
    mask = read_mask(one, runs, one.path)
    return prepare(read_slice(one)), resized(mask, SIZE, NEAREST)


def _encoded(chosen: Sequence[tuple[Slice, Mapping[str, str]]], index: int) -> tuple[bytes, Array]:
    one, runs = chosen[index]
    content = read_bytes(one.path)
    check(content, GREY16, str(one.path))
    return content, read_mask(one, runs, one.path)


@lru_cache(maxsize=1)
def _table(path: Path, _changed: int) -> Truth:
    table: dict[str, dict[str, str]] = {}
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        missing = {"id", "class", "segmentation"} - set(reader.fieldnames or ())
        if missing:
            raise InputError(
                f"{path}: has no column {', '.join(sorted(missing))}; expected id, class, segmentation: add it"
            )
        for row in reader:
            table.setdefault(row["id"], {})[row["class"]] = row["segmentation"] or ""
    return table
