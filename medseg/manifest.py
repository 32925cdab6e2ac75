"""The manifest of a run: what manifest.json must hold, read and written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from medseg.errors import RunError
from medseg.schema import Check, a, count, either, mapping, number, read_json, record, sequence, text

FORMAT = 1
MANIFEST = "manifest.json"
_MOST = 1 << 50  # of what is counted
_REMEDY = "restore it, or import or train again"


def _matching(expected: str, pattern: str) -> Check:
    return a(expected, lambda value: isinstance(value, str) and bool(re.fullmatch(pattern, value)), quoted=True)


# A file lies in the run's own folder; none of its own begins with a dot, as what is being written does.
_NAME = _matching("a file's plain name", rf"(?!{re.escape(MANIFEST)}$)[^/\\\x00-\x1f.][^/\\\x00-\x1f]{{0,254}}")
_DIGEST = _matching("64 hexadecimal digits", "[0-9a-f]{64}")
_PRECISION = _matching("a precision such as fp32", "[a-z]+[0-9]+")
_NUMBER = a("a finite number", number)
_SETTING = a("a number, a text or nothing", lambda value: value is None or either(value, str, int, float, bool))

_PARITY = record({"dice": _NUMBER, "flipped": count(0, _MOST), "voxels": count(0, _MOST)})
_TARGET = record({"batches": sequence(count(1, _MOST), 3)})
_WORDS = dict.fromkeys(("suffix", "engine", "version", "gpu", "key", "onnx", "command", "medseg"), text())
_FILE = record(
    {"sha256": _DIGEST, "bytes": count(0, _MOST)},
    {"precision": _PRECISION, "parity": _PARITY, "target": _TARGET, "seconds": _NUMBER, **_WORDS},
)
_PLAN = record({"engine": text(), "version": text()})  # of a file that is for one GPU


def _file(value: Any, where: str) -> str | None:
    problem = _FILE(value, where)
    if problem or "gpu" not in value:
        return problem
    return _PLAN(value, where) or (record({"target": _TARGET})(value, where) if "precision" in value else None)


def _result(value: Any, where: str) -> str | None:
    best = value.get("best_by") if isinstance(value, dict) else None
    scores = {best: a("a number", lambda score: either(score, int, float))} if isinstance(best, str) else {}
    return record(scores, {"best_by": text()})(value, where)


_SPLIT = record({}, {"train": sequence(text()), "validation": sequence(text()), "rule": text()})
_SOURCE = record({}, {"kind": text(), "size": count(1, 1 << 16), "split": _SPLIT, "recipe": mapping(_SETTING)})
_MANIFEST = record(
    {"network": text(), "options": mapping(_SETTING), "source": _SOURCE, "files": mapping(_file, _NAME)},
    {"parameters": count(0, _MOST), "result": _result},
)


def read_manifest(folder: Path) -> dict[str, Any]:
    """A run's manifest. Raises RunError where the folder has none, or it is not as medseg writes it."""
    path = folder / MANIFEST
    if not path.is_file():
        raise RunError(f"{folder} is not a run: it has no {MANIFEST}; make one with `medseg import` or `medseg train`")
    try:
        manifest = read_json(path)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{path} is not valid JSON ({reason}); expected a run's manifest: {_REMEDY}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if either(found, int) and found != FORMAT:
        raise RunError(f"{path} has format {found}; this medseg reads format {FORMAT}: export again with this version")
    problem = record({"format": count(FORMAT, FORMAT)})(manifest, "it") or _MANIFEST(manifest, "it")
    if problem:
        raise RunError(f"{path} is not a run's manifest: {problem.removeprefix('it.')}; {_REMEDY}")
    return dict(manifest)


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest to a file."""
    path.write_text(json.dumps(manifest, indent=2) + "\n")
