"""Several bench.json of the same cases as one record: of several machines, or of one on several days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from medseg.bench.judge.score_changes import score_changes
from medseg.bench.record import MeanRecord, PartRecord, Record, TargetRecord
from medseg.bench.stored import read_json
from medseg.errors import InputError
from medseg.metrics.means import differences


def merged(paths: Sequence[Path]) -> Record:
    """One record with all targets, each named with its machine or day.

    Differences are to the first file's first target, case by case. Raises InputError for fewer than two files, another
    task, or other cases: their scores would not be comparable.
    """
    if len(paths) < 2:
        raise InputError(f"--merge got {len(paths)} bench.json; expected two or more: give the others too")
    records = [read_json(path) for path in paths]
    for path, record in zip(paths, records, strict=True):
        _check_same(paths[0], records[0], path, record)
    named = list(zip(records, _labels(records), strict=True))
    targets = [_labelled(one, label) for record, label in named for one in record["targets"]]
    runs = [run for record in records for run in record["runs"]]
    for one in targets[1:]:
        found = differences(one["scores"], targets[0]["scores"])
        one["paired"] = {name: cast(MeanRecord, asdict(mean)) for name, mean in found.items()}
    whole: Record = {
        **records[0],
        "targets": targets,
        "networks": [_labelled(one, label) for record, label in named for one in record["networks"]],
        "runs": [run for number, run in enumerate(runs) if run not in runs[:number]],
        "score_changes": score_changes(targets, records[0]["main"]),
        "interrupted": any(record["interrupted"] for record in records),
        "merged": [_part(record, label) for record, label in named],
    }
    whole.pop("against", None)
    return whole


def machine_name(record: Record) -> str:
    """A machine in a few words: its GPU, else its processor."""
    gpu = record["machine"]["gpu"]
    return gpu["name"] if gpu else f"{record['machine']['cpu']}, {record['machine']['cores']} cores"


def _check_same(first_path: Path, first: Record, path: Path, record: Record) -> None:
    if record["task"] != first["task"]:
        tasks = f"{path} is of task {record['task']!r} and {first_path} of {first['task']!r}"
        raise InputError(f"{tasks}; expected one task: leave one out")
    if _cases(record) != _cases(first):
        raise InputError(
            f"{path} and {first_path} were measured on different cases; expected the same ones: measure again"
        )


def _cases(record: Record) -> dict[str, dict[str, str]]:
    return {case["id"]: case["sha256"] for case in record["cases"]}


def _labels(records: Sequence[Record]) -> list[str]:
    """What distinguishes the records: the first of machine, day, time and number that differ."""
    rows = [
        (machine_name(record), record["started"][:10], f"{record['started'][11:16]} UTC", str(number))
        for number, record in enumerate(records, 1)
    ]
    differ = [place for place in range(4) if len({row[place] for row in rows}) > 1]
    named = [[", ".join(row[place] for place in differ[:most]) for row in rows] for most in range(1, len(differ) + 1)]
    return next(labels for labels in named if len(set(labels)) == len(labels))


def _labelled(target: TargetRecord, label: str) -> TargetRecord:
    return {
        **target,
        "name": f"{target['name']}, {label}",
        "facts": {**target["facts"], "machine": label},
        "paired": {},
    }


def _part(record: Record, label: str) -> PartRecord:
    return {
        "label": label,
        "started": record["started"],
        "medseg": record["medseg"],
        "machine": record["machine"],
        "command": record["command"],
    }
