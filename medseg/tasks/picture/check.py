"""The check of a folder of pictures and masks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from medseg.data.check import Inspected, read_cases
from medseg.tasks.picture.description import Picture
from medseg.tasks.picture.layout import masks_without_picture
from medseg.tasks.picture.reader import patients, read


def inspect(picture: Picture | None, directory: Path) -> Iterator[Inspected]:
    """Every patient's pictures with their masks, or with the first problem; then the masks without a picture."""
    for patient in patients(directory):
        yield read_cases(patient, partial(read, picture, directory, patient), ())
    lost = [
        f"{path}: belongs to no picture; expected one of its name: rename or remove it"
        for path in masks_without_picture(directory)
    ]
    if lost:
        yield Inspected(None, (), lost)
