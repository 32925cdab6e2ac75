"""Everything that can be wrong with a folder in AI CUP 2022's layout."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from medseg.data.check import Inspected, problems_of, read_cases
from medseg.data.labelme import read_labelme
from medseg.tasks.stas.reader import annotation_path, patients, picture_bytes, picture_path, read


def inspect(directory: Path) -> Iterator[Inspected]:
    """Every picture with its mask, or with what is wrong with the picture and with its annotation."""
    for name in patients(directory):
        annotation = annotation_path(directory, name)
        calls = [partial(picture_bytes, directory, name)]
        problems = problems_of([*calls, *([partial(read_labelme, annotation)] if annotation.is_file() else [])])
        problems += [] if problems or not annotation.is_file() else _another(directory, name)
        yield read_cases(name, partial(read, directory, name), problems)


def _another(directory: Path, name: str) -> list[str]:
    path = annotation_path(directory, name)
    meant = Path(read_labelme(path).image_name).stem
    if meant in ("", name):
        return []
    return [f"{path}: speaks of picture {meant!r}; expected {picture_path(directory, name).name}: rename the file"]
