"""bench.json on the disk: written whole and never over another; what a comparison needs is checked when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar, cast

from medseg.bench.record import SCHEMA, Record
from medseg.bench.schema import BENCH
from medseg.errors import InputError
from medseg.files import whole_file
from medseg.schema import either

Data = TypeVar("Data")


def write_json(path: Path, record: Record) -> None:
    """Write bench.json, whole or not at all, and never over an earlier one. Raises InputError where there is one."""
    check_new(path)
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(rounded(record), indent=1) + "\n")


def check_new(path: Path) -> None:
    """Raise InputError where a bench.json exists: it is what later runs are compared with, so it never changes."""
    if path.exists():
        raise InputError(f"{path} exists and is never overwritten; expected a folder without one: choose another --out")


def rounded(value: Data) -> Data:
    """The same data with floats to the microsecond, which is finer than any clock here."""
    return cast(Data, _rounded(value))


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def read_json(path: Path) -> Record:
    """A bench.json. Raises InputError, naming the first thing wrong, for a file that is not one of this schema."""
    if not path.is_file():
        raise InputError(f"{path} is not a file; expected a bench.json written by `medseg bench`: check the path")
    try:
        record = json.loads(path.read_bytes())
    except RecursionError:
        raise _no_bench(path, "it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise _no_bench(path, str(error).splitlines()[0]) from error
    version = record.get("schema") if isinstance(record, dict) else None
    if either(version, int) and version != SCHEMA:
        raise InputError(
            f"{path} has schema {version}; this version of medseg compares schema {SCHEMA}: run `medseg bench` again"
        )
    if problem := BENCH(record, "it"):
        raise _no_bench(path, problem)
    return cast(Record, record)


def _no_bench(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is not a bench.json: {reason}; expected one as `medseg bench` wrote it: run it again")
