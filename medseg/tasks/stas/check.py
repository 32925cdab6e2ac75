"""The check of a folder in AI CUP 2022's layout."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from medseg.data.check import Inspected, problems_of, read_cases
from medseg.data.labelme import read_labelme
from medseg.tasks.stas.reader import annotation, annotation_path, patients, picture_bytes, picture_path, read


def inspect(directory: Path) -> Iterator[Inspected]:
    """Every picture with its mask, or with the problems of the picture and of its annotation."""
    for name in patients(directory):
        drawn_on = annotation_path(directory, name).is_file()
        reads = (picture_bytes, annotation) if drawn_on else (picture_bytes,)
        problems = problems_of(partial(one, directory, name) for one in reads)
        problems += [] if problems or not drawn_on else _another(directory, name)
        yield read_cases(name, partial(read, directory, name), problems)


def _another(directory: Path, name: str) -> list[str]:
    path = annotation_path(directory, name)
    meant = Path(read_labelme(path).image_name).stem
    if meant in ("", name):
        return []
    return [f"{path}: is for picture {meant!r}; expected {picture_path(directory, name).name}: rename the file"]
