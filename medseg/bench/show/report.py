"""Report: bench.json, Markdown, HTML and JUnit XML of one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

from medseg.bench.judge.compare import WORSE, Check, compare
from medseg.bench.record import Against, CheckRecord, Record
from medseg.bench.show.html import html
from medseg.bench.show.junit import junit, sentence
from medseg.bench.show.markdown import markdown
from medseg.bench.show.notes import problems
from medseg.bench.stored import rounded, write_json
from medseg.files import whole_file


def with_comparison(record: Record, before: Record, limits: Mapping[str, float]) -> Record:
    """The record with every check against an earlier one."""
    checks = compare(before, rounded(record), limits)  # as the earlier run was when it was written
    against: Against = {
        "started": before["started"],
        "checks": [cast(CheckRecord, asdict(check)) for check in checks],
        "sentences": [sentence(check) for check in checks],
    }
    return {**record, "against": against}


def bad(record: Record) -> bool:
    """Whether a request failed, a target could not be opened, Ctrl-C ended the run, or something got worse."""
    worse = any(check["verdict"] == WORSE for check in _checks(record))
    return bool(problems(record)) or record["interrupted"] or worse


def write_report(folder: Path, record: Record) -> Path:
    """Write bench.json, report.md, report.html and, after a comparison, junit.xml; returns the HTML's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "bench.json", record)
    _write(folder / "report.md", markdown(record).encode())
    _write(folder / "report.html", html(record).encode())
    if "against" in record:
        _write(folder / "junit.xml", junit([Check(**check) for check in _checks(record)], record["task"]))
    return folder / "report.html"


def _checks(record: Record) -> list[CheckRecord]:
    return record["against"]["checks"] if "against" in record else []


def _write(path: Path, content: bytes) -> None:
    with whole_file(path) as temporary:
        temporary.write_bytes(content)
