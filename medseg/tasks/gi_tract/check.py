"""Everything that can be wrong with a folder in the UW-Madison collection's layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from medseg.data.check import Inspected, problems_of, read_cases
from medseg.tasks.gi_tract.networks import GI_TRACT
from medseg.tasks.gi_tract.reader import Slice, patients, read, read_mask, read_slice, slice_of, truths


def inspect(directory: Path) -> Iterator[Inspected]:
    """The table, then every case with its slices, or with the problem of every file and text that is wrong."""
    broken = problems_of([partial(truths, directory)])
    yield Inspected(None, (), broken or list(_rows_without_slices(directory)))
    for name in patients(directory):
        paths = sorted((directory / "train" / name).glob("*/scans/*.png"))
        problems = broken or problems_of(partial(_inspect_slice, directory, path) for path in paths)
        yield read_cases(name, partial(read, directory, name), problems)


def _inspect_slice(directory: Path, path: Path) -> None:
    one: Slice = slice_of(path)
    read_slice(one)
    read_mask(one, truths(directory).get(one.id, {}), directory / "train.csv")


def _rows_without_slices(directory: Path) -> Iterator[str]:
    """One sentence for each scan whose rows have no pictures, and each class that is unknown."""
    there = {"_".join((path.parts[-3], *path.name.split("_")[:2])) for path in directory.glob("train/*/*/scans/*.png")}
    table, where = truths(directory), directory / "train.csv"
    missing = Counter(name.split("_slice_")[0] for name in table if name not in there)
    for day, count in missing.items():
        scans = directory / "train" / day.split("_")[0] / day / "scans"
        yield f"{scans}: lacks {count} slices that {where} lists: copy them there, or remove their rows"
    for name in sorted({name for runs in table.values() for name in runs} - set(GI_TRACT.classes)):
        yield f"{where}: has rows of class {name!r}; expected {', '.join(GI_TRACT.classes)}: correct them"
