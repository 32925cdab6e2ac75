"""Cases of a raw dataset: the request and the truth. The first argument is a description, or None."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medseg.data.check import Inspected, read_cases
from medseg.data.series import found
from medseg.data.split import Split, drawn
from medseg.data.voxels import Volume
from medseg.description import Description
from medseg.errors import InputError
from medseg.task import Array, Case, Reading, Request, Tensors, Unread
from medseg.tasks.volume.cases import Asked, check_alike, of_channels
from medseg.tasks.volume.raw import PARTS, Dataset, Entry, dataset_of, entries, entries_of, odd_files

_READING = Reading(real=True)
_FOLDS = 5


def patients(directory: Path) -> list[str]:
    """The cases' names, sorted: nnU-Net knows no patients. Those of imagesTs where it has truth, else of imagesTr."""
    dataset_of(directory)
    return list(entries(directory))


def read(description: Description | None, directory: Path, patient: str) -> list[Case]:
    """The case: an image (channels, z, y, x) float32, labels (z, y, x) uint8 or None, and where it lies.

    Raises InputError naming a file that is missing or unreadable, or labels that lie elsewhere or have other values.
    """
    return [_case(description, dataset_of(directory), entries(directory)[patient])]


def cases(description: Description | None, lacking: str, directory: Path, patient: str) -> list[Unread]:
    """The same case, unread. Raises InputError where the answer of an earlier stage would be needed and is not made."""
    if lacking:
        raise InputError(f"the network refines the answer of {lacking}; expected its run too: add it with --run")
    entry, dataset = entries(directory)[patient], dataset_of(directory)
    ask = partial(_question, description, dataset, entry)
    return [Unread(entry.name, ask, entry.files, patient, known=entry.labels is not None)]


def inspect(description: Description | None, directory: Path) -> Iterator[Inspected]:
    """Every case of both parts, or what is wrong with it; then what belongs to no case."""
    dataset = dataset_of(directory)
    for part in PARTS:
        for name, entry in entries_of(directory, part).items():
            yield read_cases(name, partial(_cases, description, dataset, entry), ())
    if lost := list(odd_files(directory)):
        yield Inspected(None, (), lost)


def split(directory: Path, seed: int = 0, fold: int = 0) -> Split:
    """One of five parts of the cases, drawn with the seed, validates."""
    names = patients(directory)
    return drawn(names, min(_FOLDS, max(2, len(names))), fold, seed)


def request_of(description: Description | None, dataset: Dataset, entry: Entry) -> Request:
    """What a case asks. Raises InputError where a channel is missing, or one too many."""
    channels = [channel.name for channel in description.channels] if description else dataset.channels
    return next(of_channels(entry.folder, {entry.name: dict(entry.images)}, channels, _READING)).load()


def _question(description: Description | None, dataset: Dataset, entry: Entry) -> Tensors:
    return request_of(description, dataset, entry).tensors


def _cases(description: Description | None, dataset: Dataset, entry: Entry) -> Sequence[Case]:
    return [_case(description, dataset, entry)]


def _case(description: Description | None, dataset: Dataset, entry: Entry) -> Case:
    request = request_of(description, dataset, entry)
    asked: Asked = request.source
    labels = _truth(dataset, entry.labels, asked.volumes[0]) if entry.labels else None
    return Case(entry.name, request.tensors["image"], labels, asked.geometry)


def _truth(dataset: Dataset, path: Path, image: Volume) -> Array:
    """A file's labels (z, y, x) uint8. Raises InputError where they lie elsewhere than the image, or are none."""
    volume = found(path, _READING)[0].load()
    for note in check_alike([image, volume]):
        raise InputError(f"{note}; expected labels where the image lies: check which file belongs to which")
    odd = sorted(set(np.unique(volume.array).tolist()) - dataset.values)
    if odd:
        known = ", ".join(map(str, sorted(dataset.values)))
        raise InputError(f"{path} holds the value {odd[0]:g}; expected {known}, as dataset.json says: correct either")
    return volume.array.astype(np.uint8)
