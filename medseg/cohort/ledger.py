"""The ledger of a cohort: manifest.jsonl, with a line for each case. It is readable after any kill.

The first line says how all cases are answered. While a call works, lines are only appended, and each is on the disk
before the next is begun. The last line of a case counts. A case is listed after its files are in their place.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import IO, Any

from medseg.cohort.case import DONE, FAILED, SKIPPED
from medseg.errors import RunError
from medseg.files import whole_file
from medseg.schema import a, closed, count, either, mapping, number, one_of, record, text

FORMAT = 1
_TEXT = text(1 << 20)
_MOST = 1 << 50
_JSON = (str, int, float, bool, list, dict)
_PLAIN = a("a number, a text, a list, an object or nothing", lambda value: value is None or either(value, *_JSON))
_HEADER = record({"format": a(f"{FORMAT}", lambda value: value == FORMAT, quoted=True), "how": mapping(_PLAIN)})
_SESSION = record({"session": mapping(_PLAIN)})
_ENTRY = closed(
    {
        "case": _TEXT,
        "input": _TEXT,
        "own": _TEXT,
        "status": one_of(DONE, FAILED, SKIPPED),
        "error": _TEXT,
        "read": mapping(_PLAIN),
        "files": mapping(text(64)),
        "seconds": mapping(a("a finite number", number)),
        "attempts": count(0, _MOST),
        "worker": _TEXT,
        "at": a("a finite number", number),
        "notes": a("a list of texts", lambda value: isinstance(value, list)),
        **dict.fromkeys(("medseg", "engine", "precision"), _TEXT),
        "runs": a("a list", lambda value: isinstance(value, list)),
        "options": mapping(_PLAIN),
    }
)


@dataclass(frozen=True)
class Entry:
    """The outcome of a case, as one line of the ledger."""

    case: str
    input: str
    own: str
    status: str
    error: str = ""
    read: Mapping[str, Any] = field(default_factory=dict)  # bytes, mtime and sha256 of the input
    files: Mapping[str, str] = field(default_factory=dict)  # path below the cohort's folder -> sha256
    seconds: Mapping[str, float] = field(default_factory=dict)  # by stage
    attempts: int = 0
    worker: str = ""
    at: float = 0.0  # when it was listed, in seconds since 1970
    notes: Sequence[str] = ()
    medseg: str = ""
    engine: str = ""
    precision: str = ""
    runs: Sequence[Any] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the case, independent of its name: the input, and its source there."""
        return self.input, self.own


@dataclass(frozen=True)
class Ledger:
    """A ledger as it was read: how cases are answered, the calls that worked on it, and each case's last line."""

    how: Mapping[str, Any] = field(default_factory=dict)
    sessions: Sequence[Mapping[str, Any]] = ()
    entries: Mapping[str, Entry] = field(default_factory=dict)  # by case


def read_ledger(path: Path) -> Ledger:
    """The ledger in a file; an incomplete last line is ignored. Raises RunError if another line is damaged."""
    how: Mapping[str, Any] = {}
    sessions, entries = [], {}
    for number_, line in enumerate(_whole_lines(path), 1):
        said = _parsed(line, path, number_)
        if number_ == 1:
            how = said["how"]
        elif "session" in said:
            sessions.append(said["session"])
        else:
            entries[said["case"]] = Entry(**said)
    return Ledger(how, sessions, entries)


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The lines that were written completely."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def _parsed(line: bytes, path: Path, number_: int) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        said = None
    check = _HEADER if number_ == 1 else _SESSION if isinstance(said, dict) and "session" in said else _ENTRY
    if problem := check(said, "it"):
        raise RunError(
            f"{path}, line {number_}, is not as medseg batch writes it: {problem}; expected the ledger of a cohort: "
            "restore it, or start again with --restart"
        )
    return dict(said)


class Writer:
    """A ledger, open for appending; lines are on the disk when `add` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] = path.open("ab")

    def add(self, lines: Iterable[Entry | Mapping[str, Any]]) -> None:
        """Append lines together, with one wait for the disk for all of them."""
        text_ = b"".join(_line(one) for one in lines)
        if text_:
            self._file.write(text_)
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(one: Entry | Mapping[str, Any]) -> bytes:
    return json.dumps(asdict(one) if isinstance(one, Entry) else one, separators=(",", ":")).encode() + b"\n"


def write_ledger(path: Path, ledger: Ledger, order: Iterable[str] = ()) -> None:
    """Write a new ledger, completely or not at all: a line for each case, those in `order` first and in this order."""
    names = dict.fromkeys(chain((name for name in order if name in ledger.entries), ledger.entries))
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(_line({"format": FORMAT, "how": dict(ledger.how)}))
        file.writelines(_line({"session": dict(session)}) for session in ledger.sessions)
        file.writelines(_line(ledger.entries[name]) for name in names)


def merged(ledgers: Sequence[Ledger]) -> Ledger:
    """Several ledgers as one. If several list a case: its line with `done`, else `failed`; the latest of these."""
    entries: dict[str, Entry] = {}
    for entry in chain.from_iterable(one.entries.values() for one in ledgers):
        other = entries.get(entry.case)
        if other is None or _rank(entry) > _rank(other):
            entries[entry.case] = entry
    sessions = sorted(chain.from_iterable(one.sessions for one in ledgers), key=lambda one: float(one.get("began", 0)))
    return replace(ledgers[0], entries=dict(sorted(entries.items())), sessions=sessions)


def _rank(entry: Entry) -> tuple[int, float]:
    return (SKIPPED, FAILED, DONE).index(entry.status), entry.at
