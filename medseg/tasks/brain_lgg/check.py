"""The check of a folder in `kaggle_3m`'s layout."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from medseg.data.check import Inspected, problems_of, read_cases
from medseg.data.encoded import RGB
from medseg.data.image import GREY8, read_image
from medseg.tasks.brain_lgg.reader import patients, read
from medseg.tasks.brain_lgg.slices import faults, mask_path, root, slice_paths


def inspect(directory: Path) -> Iterator[Inspected]:
    """Every patient with its case, or with a problem for each wrong file."""
    for name in patients(directory):
        folder = root(directory) / name
        problems = [*faults(folder), *_pictures(folder)]
        yield read_cases(name, partial(read, directory, name), problems)


def _pictures(folder: Path) -> list[str]:
    pictures = slice_paths(folder)
    calls = [partial(read_image, path, RGB) for path in pictures]
    return problems_of([*calls, *(partial(read_image, mask_path(path), GREY8) for path in pictures)])
