"""A data folder's pictures with their masks, as cases, requests and samples.

`picture` is the description; None means the task without a description.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from medseg.data.encoded import check, decode, encoded_tensor, mode_of, orientation_of
from medseg.data.image import read_bytes
from medseg.data.samples import Sample, Samples
from medseg.data.split import Split, drawn
from medseg.description import Class
from medseg.errors import InputError
from medseg.task import Array, Case, Tensors, Unread
from medseg.tasks.picture.description import Picture
from medseg.tasks.picture.kinds import KINDS, SUFFIXES, kind_of
from medseg.tasks.picture.layout import Entry, class_names, entries
from medseg.tasks.picture.prepare import prepare, prepared_mask
from medseg.tasks.picture.truth import truth

PARTS = 5  # one of these parts validates


def patients(directory: Path) -> Sequence[str]:
    """The patients, sorted: the pictures' subfolders or the column `patient`; else each picture is a patient."""
    return sorted({entry.patient for entry in entries(directory)})


def read(picture: Picture | None, directory: Path, patient: str) -> Sequence[Case]:
    """A patient's pictures as cases: (row, col) or (row, col, 3), mask (classes, row, col) uint8 or None.

    Raises InputError, with the file's name, where a file is missing, unreadable, not of the described kind, or has
    another size than its picture.
    """
    classes = picture.shared.classes if picture else named_classes(class_names(directory))
    return [_case(picture, classes, entry) for entry in _of(directory, patient)]


def cases(directory: Path, patient: str) -> list[Unread]:
    """A patient's pictures, not read yet, in the order of `read`."""
    return [
        Unread(
            entry.id, partial(_question, entry), _files(entry), known=bool(entry.mask or entry.masks), patient=patient
        )
        for entry in _of(directory, patient)
    ]


def _files(entry: Entry) -> tuple[Path, ...]:
    masks = (entry.mask, *entry.masks.values())
    return entry.picture, *(path for path in masks if path)


def _question(entry: Entry) -> Tensors:
    return {"encoded": encoded_tensor([read_bytes(entry.picture)])}


def samples(picture: Picture, directory: Path, patients: Sequence[str]) -> Samples:
    """The pictures with truth as the network sees them.

    Each is (channels, height, width) float32 with a mask (classes, height, width) uint8. They are read on demand. All
    have the weight 1.
    """
    chosen = set(patients)
    known = tuple(one for one in entries(directory) if one.patient in chosen and (one.mask or one.masks))
    load = partial(_sample, picture, known)
    return Samples(load, tuple(one.patient for one in known), np.ones(len(known)))


def split(directory: Path, seed: int = 0, fold: int = 0) -> Split:
    """One of five parts of the patients, drawn with the seed, validates."""
    names = patients(directory)
    return drawn(names, min(PARTS, max(2, len(names))), fold, seed)


def kind_in(directory: Path) -> tuple[str, int]:
    """Colours and bits of the folder's first picture.

    Raises InputError where the folder has no picture, or the first is of an unknown kind.
    """
    known = entries(directory)
    if not known:
        raise InputError(
            f"{directory} holds no pictures; expected images/ and masks/, pairs.csv, or pictures with LabelMe files "
            f"beside them ({', '.join(sorted(SUFFIXES))}): check the folder"
        )
    return _known_kind(known[0].picture)


def _of(directory: Path, patient: str) -> list[Entry]:
    return [entry for entry in entries(directory) if entry.patient == patient]


def _case(picture: Picture | None, classes: Sequence[Class], entry: Entry) -> Case:
    content = read_bytes(entry.picture)
    kind = kind_of(picture) if picture else KINDS[_known_kind(entry.picture)]
    size = check(content, kind, str(entry.picture))
    found = truth(entry, size, classes, orientation_of(content, kind))
    mask = exclusive(found) if found is not None and picture and picture.softmax else found
    return Case(entry.id, decode(content, kind, str(entry.picture)), mask)


def named_classes(names: Sequence[str]) -> tuple[Class, ...]:
    """Classes of these names with the values 1, 2, ..."""
    return tuple(Class(name, value) for value, name in enumerate(names, 1))


def exclusive(planes: Array) -> Array:
    """Masks (classes, row, col) in which each pixel has at most one class: where masks overlap, the later class."""
    taken = np.zeros(planes.shape[1:], bool)
    found = np.zeros_like(planes)
    for index in reversed(range(len(planes))):
        found[index] = planes[index].astype(bool) & ~taken
        taken |= planes[index] > 0
    return found


def _known_kind(path: Path) -> tuple[str, int]:
    mode = mode_of(read_bytes(path), str(path))
    found = [facts for facts, kind in KINDS.items() if kind.mode == mode]
    if not found:
        raise InputError(f"{path}: has the mode {mode}; expected a grey or RGB picture of 8 or 16 bits: convert it")
    return found[0]


def _sample(picture: Picture, known: Sequence[Entry], index: int) -> Sample:
    case = _case(picture, picture.shared.classes, known[index])
    pixels = case.image if case.image.ndim == 3 else case.image[..., np.newaxis]
    return prepare(pixels, picture), prepared_mask(np.asarray(case.mask), picture)
