"""The check of a folder in the UW-Madison collection's layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from medseg.data.check import Inspected, problems_of, read_cases
from medseg.tasks.gi_tract.reader import (
    Slice,
    Truth,
    patients,
    read,
    read_mask,
    read_slice,
    slice_of,
    slice_paths,
    table_of,
)


def inspect(directory: Path) -> Iterator[Inspected]:
    """The table's problems, then every case with its slices, or with a problem for each wrong file or text."""
    table, wrong = table_of(directory)
    yield Inspected(None, (), [*wrong, *_rows_without_slices(directory, table)])
    for name in patients(directory):
        paths = slice_paths(directory, name)
        problems = problems_of(partial(_inspect_slice, directory, table, path) for path in paths)
        yield Inspected(name, (), problems) if wrong else read_cases(name, partial(read, directory, name), problems)


def _inspect_slice(directory: Path, table: Truth, path: Path) -> None:
    one: Slice = slice_of(path)
    read_slice(one)
    read_mask(one, table.get(one.id, {}), directory / "train.csv")


def _rows_without_slices(directory: Path, table: Truth) -> Iterator[str]:
    """One sentence for each scan that has rows without a picture."""
    paths = (path for name in patients(directory) for path in slice_paths(directory, name))
    there = {"_".join((path.parts[-3], *path.name.split("_")[:2])) for path in paths}
    where = directory / "train.csv"
    missing = Counter(name.split("_slice_")[0] for name in table if name not in there)
    for day, count in missing.items():
        scans = directory / "train" / day.split("_")[0] / day / "scans"
        yield f"{scans}: lacks {count} slices that {where} lists: copy them there, or remove their rows"
