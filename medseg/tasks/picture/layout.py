"""Where pictures and their masks lie: two folders, a CSV of pairs, or LabelMe files beside the pictures.

- `images/` (or `pictures/`) and `masks/` (or `labels/`): a mask has its picture's path and stem. It holds the classes'
  values, or there is one file per class: `masks/CLASS/STEM.png`. A LabelMe file STEM.json can replace a mask.
- `pairs.csv` with the columns `picture` and `mask`, or one column `mask: CLASS` for each class, and optionally
  `patient`. Paths are relative to the CSV.
- otherwise every picture in the folder, each with a LabelMe file of the same stem beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from medseg.data.table import read_text
from medseg.errors import InputError
from medseg.tasks.picture.kinds import SUFFIXES
from medseg.tasks.picture.pairs import read_pairs

PICTURES, MASKS = ("images", "pictures"), ("masks", "labels")
PAIRS = "pairs.csv"
CLASSES = "classes.txt"  # the classes' names, one per line, in the order of their values 1, 2, ...


@dataclass(frozen=True)
class Entry:
    """One picture: its file, its patient, and the files of its truth, if there are any."""

    id: str
    picture: Path
    patient: str
    mask: Path | None = None  # a mask with the classes' values, or a LabelMe file
    masks: Mapping[str, Path] = field(default_factory=dict)  # one mask for each class


def entries(directory: Path) -> tuple[Entry, ...]:
    """All pictures of a data folder, or of a CSV of pairs, sorted by id. Raises InputError where two have one id."""
    looked_at = (directory, directory / PAIRS, *(directory / name for name in (*PICTURES, *MASKS)))
    return _known(directory, tuple(path.stat().st_mtime_ns for path in looked_at if path.exists()))


@lru_cache(maxsize=4)  # patients are read one by one, and each call needs all entries of a large folder
def _known(directory: Path, _: tuple[int, ...]) -> tuple[Entry, ...]:
    found = sorted(_entries(directory), key=lambda entry: entry.id)
    for one, other in pairwise(found):
        if one.id == other.id:
            raise InputError(
                f"{one.picture}: has the same name as {other.picture.name}; expected one picture per name: remove one"
            )
    return tuple(found)


def _entries(directory: Path) -> list[Entry]:
    table = directory if directory.suffix.lower() == ".csv" else directory / PAIRS
    if table.is_file():
        return [Entry(_id(one.picture, one.root), *one.facts) for one in read_pairs(table)]
    pictures, masks = _folder(directory, PICTURES), _folder(directory, MASKS)
    if pictures is None:
        return [_beside(path, directory) for path in _files(directory, SUFFIXES)]
    known = _by_stem(masks) if masks else {}
    classes = sorted(path.name for path in masks.iterdir() if path.is_dir() and path.name[0] != ".") if masks else []
    return [_paired(path, pictures, known, classes) for path in _files(pictures, SUFFIXES)]


def masks_without_picture(directory: Path) -> list[Path]:
    """Masks in the folder of masks that belong to no picture."""
    masks = _folder(directory, MASKS)
    if masks is None or (directory / PAIRS).is_file() or _folder(directory, PICTURES) is None:
        return []
    known = {path for one in entries(directory) for path in (one.mask, *one.masks.values()) if path}
    return [path for path in _files(masks, {*SUFFIXES, ".json"}) if path not in known]


def class_names(directory: Path) -> tuple[str, ...]:
    """The classes that the folder itself names, in the order of their values; empty where it names none."""
    path = directory / CLASSES
    if path.is_file():
        return tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    masks = _folder(directory, MASKS)
    named = {name: None for one in entries(directory) for name in one.masks}
    return tuple(sorted(named)) if masks or named else ()


def one_file_a_class(directory: Path) -> bool:
    """Whether there is one mask file for each class, so that classes may overlap."""
    return any(one.masks for one in entries(directory))


def _folder(directory: Path, names: Sequence[str]) -> Path | None:
    found = [directory / name for name in names if (directory / name).is_dir()]
    if len(found) > 1:
        raise InputError(f"{directory} has both {found[0].name} and {found[1].name}; expected one of them: remove one")
    return found[0] if found else None


def _files(folder: Path, suffixes: set[str]) -> list[Path]:
    """The files with one of these suffixes in a folder and its subfolders, sorted, without hidden ones."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))


def _beside(path: Path, directory: Path) -> Entry:
    note = path.with_suffix(".json")
    return Entry(_id(path, directory), path, _patient(path, directory), note if note.is_file() else None)


def _paired(path: Path, pictures: Path, known: Mapping[str, Sequence[Path]], classes: Sequence[str]) -> Entry:
    """A picture with the masks that have its path, in the folder of masks or in that of each class."""
    where = str(path.relative_to(pictures).with_suffix(""))
    apart = {name: found for name in classes if (found := known.get(f"{name}/{where}"))}
    whole = known.get(where, ())
    for twice in (whole, *apart.values()):
        if len(twice) > 1:
            raise InputError(
                f"{twice[0]}: has the same name as {twice[1].name}; expected one mask per name: remove one"
            )
    if whole and apart:
        other = next(iter(apart.values()))[0]
        raise InputError(f"{whole[0]}: {other} is a mask of the same picture; expected one of them: remove the other")
    masks = {name: found[0] for name, found in apart.items()}
    beside = path.with_suffix(".json")
    mask = whole[0] if whole else (beside if beside.is_file() and not masks else None)
    return Entry(_id(path, pictures), path, _patient(path, pictures), mask, masks)


def _by_stem(masks: Path) -> Mapping[str, Sequence[Path]]:
    """The masks, by their paths relative to the folder of masks, without suffixes."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in _files(masks, {*SUFFIXES, ".json"}):
        found[str(path.relative_to(masks).with_suffix(""))].append(path)
    return found


def _id(path: Path, folder: Path) -> str:
    """The path relative to the folder as a name for files: `ward/3.png` becomes `ward_3`."""
    return "_".join(path.relative_to(folder).with_suffix("").parts)


def _patient(path: Path, folder: Path) -> str:
    """The name of the subfolder in which a picture lies; a picture without one counts as its own patient."""
    parts = path.relative_to(folder).parts[:-1]
    return "_".join(parts) if parts else _id(path, folder)
