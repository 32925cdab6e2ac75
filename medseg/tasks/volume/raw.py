"""nnU-Net's raw dataset: dataset.json, imagesTs and labelsTs, imagesTr and labelsTr; which files are which case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.data.voxels import SUFFIXES, stem
from medseg.errors import InputError
from medseg.schema import read_json
from medseg.tasks.volume.cases import numbered, volume_files

DATASET = "dataset.json"
PARTS = ("Ts", "Tr")  # of images and labels: the cases for scoring, and the training cases
_IGNORE = "ignore"


@dataclass(frozen=True)
class Entry:
    """One case: its image's files by channel, and its labels' file where there is one."""

    name: str
    images: Mapping[int, Path]
    labels: Path | None

    @property
    def folder(self) -> Path:
        """Where its images lie."""
        return next(iter(self.images.values())).parent

    @property
    def files(self) -> tuple[Path, ...]:
        """All its files."""
        return *self.images.values(), *((self.labels,) if self.labels else ())


@dataclass(frozen=True)
class Dataset:
    """The content of dataset.json: the channels' names, and the values of each label."""

    channels: tuple[str, ...]
    labels: Mapping[str, int | tuple[int, ...]]  # a region has several; without background and the ignore label
    ignored: int | None  # the value of voxels that do not count

    @property
    def values(self) -> set[int]:
        """Every value that labels may have."""
        known = [value if isinstance(value, tuple) else (value,) for value in self.labels.values()]
        found = {0, *(one for many in known for one in many)}
        return found if self.ignored is None else found | {self.ignored}


def dataset_of(directory: Path) -> Dataset:
    """The content of a folder's dataset.json. Raises InputError where it is missing or incomplete."""
    path = directory / DATASET
    if not path.is_file():
        raise InputError(
            f"{directory} has no {DATASET}; expected nnU-Net's raw dataset: {DATASET}, imagesTs and labelsTs, or "
            "imagesTr and labelsTr"
        )
    try:
        document = read_json(path)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not valid JSON ({reason}); expected nnU-Net's dataset.json: correct it") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} is not an object; expected nnU-Net's dataset.json: correct it")
    channels = document.get("channel_names", document.get("modality"))
    if not isinstance(channels, dict) or sorted(channels) != sorted(map(str, range(len(channels)))) or not channels:
        raise InputError(f'{path} has no channel_names; expected each channel\'s name, as {{"0": "CT"}}: add them')
    ending = document.get("file_ending", SUFFIXES[-1])
    if not isinstance(ending, str) or ending.lower() not in SUFFIXES:
        raise InputError(f"{path} has the file_ending {ending!r}; expected one of {', '.join(SUFFIXES)}: convert them")
    names = tuple(str(channels[str(index)]) for index in range(len(channels)))
    labels = _labels(path, document.get("labels"))
    ignored = labels.pop(_IGNORE, None)
    return Dataset(names, labels, ignored if isinstance(ignored, int) else None)


def _labels(path: Path, found: Any) -> dict[str, int | tuple[int, ...]]:
    """Each label's value or values. Old files map values to names instead of names to values."""
    if not isinstance(found, dict):
        raise InputError(f'{path} has no labels; expected each label\'s value, as {{"background": 0, "liver": 1}}')
    if found and all(isinstance(value, str) for value in found.values()) and all(map(str.isdigit, found)):
        found = {name: int(value) for value, name in found.items()}
    labels = dict[str, int | tuple[int, ...]]()
    for name, value in found.items():
        values = value if isinstance(value, list) else [value]
        if not values or not all(type(one) is int and 0 <= one <= 255 for one in values):
            raise InputError(f"{path}: the label {name} is {value!r}; expected whole numbers from 0 to 255: correct it")
        if values != [0]:
            labels[name] = tuple(values) if isinstance(value, list) else value
    return labels


def entries(directory: Path) -> dict[str, Entry]:
    """The cases to score on, by name and sorted: imagesTs if it has truth, else imagesTr, else what there is.

    Raises InputError where there is no such folder, or nothing in it.
    """
    parts = [found for part in PARTS if (found := entries_of(directory, part))]
    if not parts:
        raise InputError(
            f"{directory} holds no cases; expected volumes ({', '.join(SUFFIXES)}) named NAME_0000, one file per "
            "channel, in imagesTs or imagesTr"
        )
    return next((one for one in parts if any(entry.labels for entry in one.values())), parts[0])


def entries_of(directory: Path, part: str) -> dict[str, Entry]:
    """The cases of one part, Ts or Tr, by name."""
    labels = labels_of(directory, part)
    images = numbered(volume_files(directory / f"images{part}"))
    return {name: Entry(name, dict(sorted(files.items())), labels.get(name)) for name, files in sorted(images.items())}


def labels_of(directory: Path, part: str) -> dict[str, Path]:
    """The labels' files of one part by the case's name."""
    return {stem(path): path for path in volume_files(directory / f"labels{part}")}


def odd_files(directory: Path) -> Iterator[str]:
    """Files that belong to no case, a sentence for each."""
    for part in PARTS:
        cases = entries_of(directory, part)
        known = {path for entry in cases.values() for path in entry.images.values()}
        for path in volume_files(directory / f"images{part}"):
            if path not in known:
                yield f"{path}: its name ends in no channel's number; expected {stem(path)}_0000: rename it"
        for name, path in labels_of(directory, part).items():
            if name not in cases:
                yield f"{path}: belongs to no image; expected {name}_0000 in images{part}: rename or remove it"
