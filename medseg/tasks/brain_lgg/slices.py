"""A patient's files in `kaggle_3m`'s layout: PATIENT/PATIENT_N.tif, numbered from 1 without gaps, and their masks."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from medseg.errors import InputError

_PICTURES = {".tif", ".tiff", ".png", ".jpg", ".jpeg"}
_READ = {".tif", ".tiff"}
_NUMBERED = re.compile(r"(.+)_(\d+)", re.ASCII)


def root(directory: Path) -> Path:
    """The folder that holds the patients: `kaggle_3m` in the given folder, or that folder itself."""
    return directory / "kaggle_3m" if (directory / "kaggle_3m").is_dir() else directory


def is_patient(folder: Path) -> bool:
    """Whether a folder holds numbered TIFF slices of any patient."""
    return any(path.suffix.lower() in _READ and _NUMBERED.fullmatch(path.stem) for path in _pictures(folder))


def volume_paths(folder: Path) -> list[Path]:
    """A patient's pictures in the order of their numbers.

    Raises InputError, with the file's or folder's name, where they are not one patient's complete volume, or there are
    none.
    """
    wrong = next(faults(folder), None)
    if wrong:
        raise InputError(wrong)
    paths = slice_paths(folder)
    if not paths:
        raise InputError(f"{folder}: holds no PATIENT_N.tif; expected kaggle_3m's layout: check the folder")
    return paths


def slice_paths(folder: Path) -> list[Path]:
    """The pictures `PATIENT_N.tif` of the patient after whom the folder is named, in the order of N."""
    numbered = {path: _number(path, folder) for path in _pictures(folder) if path.suffix.lower() in _READ}
    found = {path: number for path, number in numbered.items() if number is not None}
    return sorted(found, key=lambda path: found[path])


def mask_path(path: Path) -> Path:
    """The mask beside a picture."""
    return path.with_name(f"{path.stem}_mask{path.suffix}")


def faults(folder: Path) -> Iterator[str]:
    """A sentence for each reason why the folder's pictures are not all slices of one patient, each exactly once."""
    numbered = defaultdict(list)
    for path in _pictures(folder):
        number = _number(path, folder)
        if number is not None:
            numbered[number].append(path)
    for number, paths in sorted(numbered.items()):
        if len(paths) > 1:
            yield f"{paths[1]}: is the same slice as {paths[0].name}; expected one file per number: remove one of them"
        elif paths[0].suffix.lower() not in _READ:
            yield f"{paths[0]}: is a slice that is not a TIFF; expected {folder.resolve().name}_{number}.tif: "
            "convert it"
    for number in range(1, max(numbered, default=0)):
        if number not in numbered:
            yield f"{folder / f'{folder.resolve().name}_{number}.tif'}: missing between its neighbours: copy it again"
    known = {path for paths in numbered.values() for path in paths}
    known |= {mask_path(path) for path in known}
    for path in sorted(set(_pictures(folder)) - known):
        if path.suffix.lower() in _READ or _NUMBERED.fullmatch(path.stem):
            yield f"{path}: belongs to no picture {folder.resolve().name}_N.tif of this folder: move or remove it"


def _pictures(folder: Path) -> list[Path]:
    found = folder.iterdir() if folder.is_dir() else iter(())
    return sorted(path for path in found if path.suffix.lower() in _PICTURES and not path.name.startswith("."))


def _number(path: Path, folder: Path) -> int | None:
    """The number of a slice, if it is one of the folder's patient; else None."""
    match = _NUMBERED.fullmatch(path.stem)
    return int(match[2]) if match and match[1] == folder.resolve().name else None
