"""A cohort's inputs: files, folders, globs, lists and addresses as items, each with a name of its own."""

from __future__ import annotations

import glob
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from medseg.api.sources import distinct
from medseg.cohort.case import Item
from medseg.cohort.remote import expanded, is_remote
from medseg.data.table import read_records
from medseg.data.voxels import stem
from medseg.errors import InputError
from medseg.task import Reading, Request, Source, Task

COLUMN = "input"  # of a list
_LISTS = (".csv", ".jsonl", ".parquet")
Key = tuple[str, str]  # an item's input and its own name there


def items(task: Task, words: Sequence[str], reading: Reading, taken: Mapping[Key, str]) -> list[Item]:
    """All cases in these words, in their order, each once and with a name of its own.

    A word is a file, a folder that is searched, a pattern with * or **, an address that fsspec opens (a folder's ends
    in /), or a list of such words: a CSV or Parquet file with a column `input`, a JSONL file with an entry `input`.
    An input that cannot be used becomes an item with an error; one that is given twice is skipped. `taken` are the
    names of items in earlier calls, which keep them.
    """
    found: dict[Key, Item] = {}
    again: list[Item] = []
    for word in _words(words):
        for one in _in_word(task, word, reading):
            if (one.input, one.own) in found:
                again.append(replace(one, skipped="it is given twice", name=f"{one.name} (again {len(again) + 1})"))
            else:
                found[one.input, one.own] = one
    return [*_named(list(found.values()), taken), *again]


def _words(words: Sequence[str]) -> Iterator[str]:
    """The words, with lists and patterns replaced by what they stand for."""
    for word in words:
        if is_remote(word):
            yield from expanded(word)
        elif Path(word).suffix.lower() in _LISTS and Path(word).is_file():
            yield from _words([_beside(Path(word), one) for one in listed(Path(word))])
        elif not Path(word).exists() and glob.has_magic(word):
            yield from sorted(_matching(word)) or [word]
        else:
            yield word


def _matching(pattern: str) -> list[str]:
    """The paths that match a pattern."""
    path = Path(pattern)
    anchor = Path(path.anchor) if path.is_absolute() else Path()
    return [str(one) for one in anchor.glob(str(path.relative_to(anchor) if path.is_absolute() else path))]


def _beside(path: Path, word: str) -> str:
    """A list's word: a relative path in it starts from the list's folder."""
    return word if is_remote(word) else str(path.parent / word)


def listed(path: Path) -> list[str]:
    """The inputs that a list names. Raises InputError if it is not a list, or is empty."""
    suffix = path.suffix.lower()
    found = _in_csv(path) if suffix == ".csv" else _in_jsonl(path) if suffix == ".jsonl" else _in_parquet(path)
    if not found:
        raise InputError(f"{path} lists nothing; expected a row with an {COLUMN!r} for each case")
    return found


def _in_csv(path: Path) -> list[str]:
    return [cells[COLUMN] for _, cells in read_records(path, (COLUMN,)) if cells[COLUMN]]


def _in_jsonl(path: Path) -> list[str]:
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            said = json.loads(line)[COLUMN] if line.strip() else None
        except (ValueError, LookupError, TypeError, RecursionError):
            said = 0
        if said is not None and not isinstance(said, str):
            raise InputError(f'{path}, line {number}, names no input; expected {{"{COLUMN}": "PATH"}}: correct it')
        found += [said] if said else []
    return found


def _in_parquet(path: Path) -> list[str]:
    from pyarrow import ArrowException, parquet

    try:
        column = parquet.read_table(path, columns=[COLUMN]).column(COLUMN).to_pylist()
    except (ArrowException, KeyError, OSError) as error:
        raise InputError(f"{path} is not a Parquet table with a column {COLUMN!r}: write it again") from error
    return [str(one) for one in column if one]


def _in_word(task: Task, word: str, reading: Reading) -> Iterator[Item]:
    """The items of one file, folder or address, named as the task names them."""
    if is_remote(word):
        yield Item(_remote_name(word), word)
        return
    path = Path(word).absolute()  # not resolved: a link's own name is the name that the user gave
    try:
        for one in task.files.sources(path, reading):
            yield Item(one.name, str(one.path), one.name)
    except InputError as error:
        yield Item(stem(path), str(path), error=str(error))


def _remote_name(url: str) -> str:
    """A case's name from its address: the last part of the path, without characters that file names should not have."""
    last = stem(Path(urlsplit(url).path.rstrip("/") or "input"))
    return re.sub(r"[^\w.-]+", "_", re.sub(r"(?<=.)\.[A-Za-z]\w{0,4}$", "", last)) or "input"


def _named(found: Sequence[Item], taken: Mapping[Key, str]) -> Iterator[Item]:
    """The items with distinct names; items of earlier calls keep theirs."""
    used = {name.casefold() for name in taken.values()}
    for item, name in zip(found, distinct([_place(one) for one in found]), strict=True):
        known = taken.get((item.input, item.own))
        if known is None and name.casefold() in used:
            name = f"{name}_{hashlib.sha256(f'{item.input} {item.own}'.encode()).hexdigest()[:8]}"
        yield replace(item, name=known or name)


def _place(item: Item) -> Source:
    """An item as a Source, which `distinct` takes."""
    path = Path(item.input)
    if is_remote(item.input):
        parts = urlsplit(item.input)
        path = Path("/", parts.netloc, *(re.sub(r"[^\w.-]+", "_", one) for one in parts.path.split("/") if one))
    return Source(path, item.name, _unread)


def _unread() -> Request:
    raise AssertionError("it is read by a worker")
