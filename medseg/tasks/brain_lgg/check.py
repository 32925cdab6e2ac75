"""Everything that can be wrong with a folder in `kaggle_3m`'s layout."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from medseg.data.check import Inspected, problems_of, read_cases
from medseg.data.encoded import RGB
from medseg.data.image import GREY8, read_image
from medseg.tasks.brain_lgg.reader import mask_path, patients, read, root, slice_paths


def inspect(directory: Path) -> Iterator[Inspected]:
    """Every patient with its case, or with the problem of every file that is wrong."""
    for name in patients(directory):
        folder = root(directory) / name
        problems = [*_numbers(folder), *_strangers(folder), *_pictures(folder)]
        yield read_cases(name, partial(read, directory, name), problems)


def _numbers(folder: Path) -> Iterator[str]:
    numbers = [int(path.stem.split("_")[-1]) for path in slice_paths(folder)]
    for number in sorted(set(range(1, max(numbers) + 1)) - set(numbers)):
        yield f"{folder / f'{folder.name}_{number}.tif'}: missing between its neighbours: copy it again"


def _strangers(folder: Path) -> Iterator[str]:
    pictures = set(slice_paths(folder))
    known = pictures | {mask_path(path) for path in pictures}
    for path in sorted(set(folder.glob("*.tif")) - known):
        yield f"{path}: belongs to no picture {folder.name}_N.tif of this folder: rename or remove it"


def _pictures(folder: Path) -> list[str]:
    pictures = slice_paths(folder)
    calls = [partial(read_image, path, RGB) for path in pictures]
    return problems_of([*calls, *(partial(read_image, mask_path(path), GREY8) for path in pictures)])
