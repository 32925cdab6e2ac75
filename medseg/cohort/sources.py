"""An item's source: the worker finds it again, because the sources of a whole archive are too many to be sent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from medseg.cohort.case import Item
from medseg.data.companions import plain_files
from medseg.data.voxels import stem
from medseg.errors import InputError
from medseg.files import sha256
from medseg.task import Reading, Source, Task

Lister = Callable[[Path], tuple[Source, ...]]

_HEADERS = (".mhd", ".nhdr", ".hdr")
PIXELS = (".raw", ".zraw", ".raw.gz", ".img", ".img.gz", ".bin")  # suffixes of the pixel files beside a header
_CHANNEL = "_0000"  # how the name of the first of several channels ends
_LISTED = 8  # folders whose sources are remembered, so that one with many series is listed once


def lister(task: Task, reading: Reading) -> Lister:
    """A function that lists all sources in a path, and remembers the latest lists."""
    return lru_cache(_LISTED)(lambda path: tuple(task.files.sources(path, reading)))


def source_of(listed: Lister, item: Item, path: Path) -> Source:
    """The item's source in its local path. Raises InputError if it is missing, or if there are several."""
    found = [one for one in listed(path) if item.own in ("", one.name)]
    if not item.own and len(found) != 1:
        raise InputError(f"{item.input} holds {len(found)} sources; expected one: list each one separately")
    if not found:
        raise InputError(
            f"{item.input} no longer holds {item.own}; expected the files that were listed: were they moved?"
        )
    return found[0]


def facts(path: Path, fast: bool) -> dict[str, Any]:
    """An input's bytes, its latest change in seconds since 1970, and its sha256 unless `fast`.

    For several files, it is the sha256 of the sorted lines `sha256  name`, as sha256sum prints them.
    """
    return stamp(path) | ({} if fast else {"sha256": _digest(path, tuple(files_of(path)))})


def stamp(path: Path) -> dict[str, Any]:
    """An input's bytes and latest change, without reading it."""
    found = [one.stat() for one in files_of(path)]
    return {"bytes": sum(one.st_size for one in found), "mtime": max((one.st_mtime for one in found), default=0.0)}


def files_of(path: Path) -> list[Path]:
    """An input's files: the file itself, the pixel files beside a header, its channels, or all files of a folder."""
    if path.is_dir():
        return plain_files(path)
    if path.suffix.lower() in _HEADERS:
        beside = (path.parent / f"{stem(path)}{suffix}" for suffix in PIXELS)
        return [path, *(one for one in beside if one.is_file())]
    if stem(path).endswith(_CHANNEL):
        return [path, *_channels(path)]
    return [path]


def _channels(path: Path) -> Iterator[Path]:
    """The files of the channels after the first."""
    name = stem(path)
    for number in range(1, 10_000):
        one = path.parent / f"{name[:-4]}{number:04}{path.name.removeprefix(name)}"
        if not one.is_file():
            return
        yield one


@lru_cache(_LISTED)
def _digest(path: Path, files: tuple[Path, ...]) -> str:
    if files == (path,):
        return sha256(path)
    root = path if path.is_dir() else path.parent
    lines = sorted(f"{sha256(one)}  {one.relative_to(root).as_posix()}\n" for one in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
