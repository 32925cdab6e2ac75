"""All CTs in a path: volume files, DICOM series in a folder or a tree, multi-frame objects, or a zip of these."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from medseg.data.archive import unpacked
from medseg.data.companions import is_foreign, is_known, is_plain, plain_files
from medseg.data.dicom import Other, Slice, read_header
from medseg.data.formats import read_file
from medseg.data.hounsfield import doubt, remark
from medseg.data.stack import stacked
from medseg.data.stored import voxels
from medseg.data.voxels import SUFFIXES, Volume, is_volume_file, stem
from medseg.errors import InputError
from medseg.task import Reading

_EXPECTED = f"a volume ({', '.join(SUFFIXES)}), DICOM slices in a folder, or a zip of them"


@dataclass(frozen=True)
class Found:
    """A volume that was found but not yet read.

    Its name is unique in the path. Of a header it holds at most the series' number.
    """

    path: Path
    name: str
    load: Callable[[], Volume]  # raises InputError


@dataclass
class _Listing:
    """A folder's files by what they are."""

    volumes: list[Path] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)
    foreign: list[Path] = field(default_factory=list)
    damaged: dict[Path, str] = field(default_factory=dict)


def found(path: Path, reading: Reading) -> list[Found]:
    """All volumes in the path, found by headers alone: first volume files by path, then DICOM series by number.

    Each DICOM series has a note that lists what is not a CT. A damaged file makes `load` fail for every series in its
    folder, unless damaged files are skipped. Raises InputError where nothing in the path can be a CT.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; expected {_EXPECTED}")
    if path.is_dir():
        return _in_folder(path, path, reading, None)
    if not is_plain(path):
        raise InputError(f"{path} is not a regular file; expected {_EXPECTED}")
    if path.name.upper() == "DICOMDIR":
        return _in_folder(path.parent, path.parent, reading, None)
    if is_volume_file(path):
        return [_file(path, stem(path), reading)]
    if zipfile.is_zipfile(path):
        folder = unpacked(path)
        return _in_folder(Path(folder.name, path.name), path, reading, folder)
    listing = _listed([path], reading, refused_unknown=False)
    if not (listing.slices or listing.others or listing.damaged):
        raise InputError(f"{path} is not a volume medseg reads; expected {_EXPECTED}")
    return _series(path, listing, reading, None)


def _in_folder(folder: Path, path: Path, reading: Reading, kept: Any) -> list[Found]:
    listing = _listed(plain_files(folder), reading, refused_unknown=True)
    names = _apart(folder, listing.volumes)
    volumes = [_file(one, name, reading, kept) for one, name in zip(listing.volumes, names, strict=True)]
    if volumes and not listing.slices:
        return volumes
    return volumes + _series(path, listing, reading, kept)


def _file(path: Path, name: str, reading: Reading, kept: Any = None) -> Found:
    return Found(path, name, partial(_read_file, path, name, reading, kept))


def _read_file(path: Path, name: str, reading: Reading, kept: Any) -> Volume:
    return _checked(replace(read_file(path, reading), label=name, kept=kept), reading)


def _listed(paths: Iterable[Path], reading: Reading, refused_unknown: bool) -> _Listing:
    listing = _Listing()
    for path in paths:
        if is_volume_file(path):
            listing.volumes.append(path)
            continue
        try:
            _sort_in(path, listing, reading, refused_unknown)
        except InputError as error:
            listing.damaged[path] = str(error)
        except OSError as error:
            listing.damaged[path] = f"{path} cannot be read ({error.strerror}); expected a CT slice: copy it again"
    return listing


def _sort_in(path: Path, listing: _Listing, reading: Reading, refused_unknown: bool) -> None:
    header = read_header(path, reading.real)
    if isinstance(header, Other):
        listing.others.append(header)
    elif header is not None:
        listing.slices += header
    elif is_foreign(path) and not is_known(path):
        listing.foreign.append(path)
    elif refused_unknown and not is_known(path):
        size = path.stat().st_size
        what = f"holds {size} bytes that are not DICOM" if size else "is empty (0 bytes)"
        raise InputError(f"{path} {what}; expected a CT slice: copy it again, or leave it out with --skip-damaged")


def _series(path: Path, listing: _Listing, reading: Reading, kept: Any) -> list[Found]:
    """The DICOM series of a listing, then for each folder with damaged files but no slice an entry whose load fails."""
    frames = Counter(one.path for one in listing.slices)
    groups: dict[object, list[Slice]] = {}
    for one in listing.slices:
        groups.setdefault(_key(one, frames[one.path]), []).append(one)
    if not groups:
        raise InputError(_nothing(path, listing))
    series = sorted(groups.values(), key=lambda group: (group[0].number.zfill(12), str(group[0].path)))
    job = _Job(path, reading, _left_out(path, listing, reading), len(series) > 1, kept)
    faults = {} if reading.skip_damaged else _by_folder(listing.damaged)
    found = []
    for name, group in zip(_names(stem(path), series), series, strict=True):
        near = {one.path.parent for one in group}
        found.append(
            Found(path, name, partial(_load, job, name, group, [faults[one] for one in faults if one in near]))
        )
    near = {one.path.parent for one in listing.slices}
    return found + [Found(one, stem(one), partial(_refuse, why)) for one, why in faults.items() if one not in near]


def _by_folder(damaged: dict[Path, str]) -> dict[Path, str]:
    """Each folder with damaged files, with what is wrong with the first of them and how many more there are."""
    counts = Counter(path.parent for path in damaged)
    first = {path.parent: why for path, why in reversed(damaged.items())}
    return {
        folder: why + (f" ({counts[folder] - 1} more such files)" if counts[folder] > 1 else "")
        for folder, why in first.items()
    }


def _refuse(why: str) -> Volume:
    raise InputError(why)


def _key(one: Slice, frames: int) -> object:
    """A key that all slices of one series share. A multi-frame object with several frames is a series of its own."""
    return one.path if frames > 1 else one.series or (one.path.parent, one.number)


@dataclass(frozen=True)
class _Job:
    """What the series of one listing share."""

    path: Path  # the path that the caller gave
    reading: Reading
    notes: tuple[str, ...]
    several: bool
    kept: Any


def _load(job: _Job, name: str, group: list[Slice], faults: list[str]) -> Volume:
    if faults:
        raise InputError(faults[0])
    number = f"series {group[0].number}"
    where = Path(f"{job.path} {number}") if job.several else job.path
    slices, geometry, notes = stacked(where, group, job.reading)
    try:
        array, counted = voxels(where, slices, job.reading)
    except MemoryError as error:
        raise InputError(
            f"{where} takes more memory than there is; expected room for its {len(slices)} slices"
        ) from error
    return _checked(
        Volume(
            path=job.path,
            array=array,
            geometry=geometry,
            notes=(*job.notes, *notes, *counted),
            files=tuple(dict.fromkeys(one.path for one in slices)),
            frames=tuple(one.frame for one in slices if one.frame is not None),
            series=number,
            label=name,
            kept=job.kept,
        ),
        job.reading,
    )


def _checked(volume: Volume, reading: Reading) -> Volume:
    """The volume, with a note where its values are doubtful. Raises InputError where they are not HU."""
    if reading.real:
        return volume
    why = doubt(volume.array)
    if why:
        seen = f"; {volume.notes[-1]}" if volume.notes else ""
        raise InputError(f"{volume.path} is not a CT in HU: {why}; expected a CT with its rescale applied{seen}")
    doubtful = remark(volume.array)
    return replace(volume, notes=(*volume.notes, f"{volume.path}: {doubtful}")) if doubtful else volume


def _nothing(path: Path, listing: _Listing) -> str:
    if listing.damaged:
        return next(iter(_by_folder(listing.damaged).values()))
    if listing.others:
        return f"{path} holds no CT slices but {_kinds(listing.others)}; expected a CT series"
    return f"{path} holds no DICOM slices and no volume; expected {_EXPECTED}"


def _left_out(path: Path, listing: _Listing, reading: Reading) -> tuple[str, ...]:
    notes = []
    if listing.others:
        notes.append(f"{path}: left out {_kinds(listing.others)}: no CT slices")
    if listing.foreign:
        names = ", ".join(one.name for one in listing.foreign[:3]) + ("" if len(listing.foreign) < 4 else ", ...")
        notes.append(f"{path}: left out {len(listing.foreign)} file(s) that are not DICOM ({names})")
    if listing.damaged and reading.skip_damaged:
        notes += [f"left out as --skip-damaged says: {why.split('; expected')[0]}" for why in listing.damaged.values()]
    return tuple(notes)


def _kinds(others: Sequence[Other]) -> str:
    counts = Counter((one.what, one.number) for one in others)
    first = {(one.what, one.number): one.path.name for one in reversed(others)}
    return ", ".join(
        f"{count} x {what} (series {number}, {first[what, number]})" for (what, number), count in counts.items()
    )


def _names(base: str, series: Sequence[Sequence[Slice]]) -> list[str]:
    """The series' names: the name of the given path, with the series' number where there are several."""
    if len(series) == 1:
        return [base]
    return _numbered([f"{base}-series-{group[0].number}" for group in series])


def _apart(folder: Path, paths: Sequence[Path]) -> list[str]:
    """The files' names without suffix; where two are equal, with the names of the folders between."""
    names = [stem(path) for path in paths]
    counts = Counter(names)
    full = ["-".join((*path.relative_to(folder).parent.parts, stem(path))) for path in paths]
    return _numbered([name if counts[name] == 1 else long for name, long in zip(names, full, strict=True)])


def _numbered(names: Sequence[str]) -> list[str]:
    """The names made unique: the second use of a name gets -2, the third -3, and so on."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return found
