"""A cohort's scores against the truth: a failed case gets the worst values, and no case is left out silently."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from tqdm import tqdm

from medseg.api.evaluation import Evaluated, held_out, reported
from medseg.cohort.case import DONE, FAILED
from medseg.cohort.ledger import Entry, Ledger, merged, read_ledger
from medseg.cohort.shards import MANIFEST, manifests
from medseg.cohort.writing import ANSWERS, ARRAYS
from medseg.engines.runs import as_runs
from medseg.errors import InputError
from medseg.files import sha256
from medseg.task import Task, Tensors, Unread
from medseg.tasks import task_as, task_named
from medseg.tasks.scorer import Scored, Scorer

Answers = Mapping[str, Entry | None]  # a case of the data -> its entry in the ledger


def evaluate_cohort(
    task: str,
    data: Path,
    cohort: Path,
    runs: Sequence[Path] = (),
    out: Path | None = None,
    overwrite: bool = False,
) -> Evaluated:
    """The scores of a cohort's answers on a data folder; notes count cases that failed or were not asked.

    With `runs`, patients that these were trained on are left out; a task that runs describe needs them. Raises
    InputError if none of the data's cases was asked, or if an answer has changed since it was listed.
    """
    held = as_runs(runs)
    subject = task_as(task, held) if held else task_named(task)
    ledger = ledger_of(cohort)
    if ledger.how.get("task") != task:
        raise InputError(
            f"{cohort} holds answers of {ledger.how.get('task')}; expected those of {task}: give the right task"
        )
    patients = held_out(subject, data, held)

    def found() -> Evaluated:
        scored, notes = _scored(subject, data, patients, cohort, ledger)
        return Evaluated(task, {cohort.resolve().name: scored}, notes=notes)

    return reported(found, out, overwrite)


def ledger_of(cohort: Path) -> Ledger:
    """A cohort's ledger, or its shards' ledgers merged. Raises InputError if there is none."""
    if (cohort / MANIFEST).exists():
        return read_ledger(cohort / MANIFEST)
    parts = manifests(cohort)
    if not parts:
        raise InputError(f"{cohort} holds no {MANIFEST}; expected the --out of `medseg batch`: check the folder")
    return merged([read_ledger(path) for path in parts])


def _scored(
    task: Task, data: Path, patients: Sequence[str], cohort: Path, ledger: Ledger
) -> tuple[Scored, tuple[str, ...]]:
    layout = task.known_data("evaluate")
    cases = {patient: layout.cases(data, patient) for patient in patients}
    known = [one for one in chain.from_iterable(cases.values()) if one.known]
    found = matched(known, ledger)
    asked = [one for one in known if found[one.id] is not None]
    if not asked:
        raise InputError(
            f"{cohort} has no answer to any of the {len(known)} cases of {data} whose truth is known; expected the "
            "same files: evaluate the cohort on the data that it answered"
        )
    options = {name: value for name, value in ledger.how.get("options", {}).items() if isinstance(value, float | int)}
    scorer = Scorer(task, data, asked, options, keep=0)
    for one in tqdm(asked, desc="scoring", disable=None, delay=2):
        entry = found[one.id]
        if entry is not None and entry.status == DONE:
            scorer.add(one.id, arrays(cohort, entry))
        else:
            scorer.fail(one.id)
    scored = scorer.scored()
    failed = sum(entry.status == FAILED for entry in found.values() if entry is not None)
    counts = {**scored.counts, "failed_cases": failed, "not_asked": len(known) - len(asked)}
    return replace(scored, counts=counts), tuple(_notes(counts))


def _notes(counts: Mapping[str, int]) -> list[str]:
    notes = []
    if counts["failed_cases"]:
        notes.append(
            f"{counts['failed_cases']} cases failed: their rows have the worst value of each score (0, or 1 if lower "
            "is better); distances have no worst value, so failed cases are left out of their means"
        )
    if counts["not_asked"]:
        notes.append(f"{counts['not_asked']} cases of the data were not asked in this cohort: they do not count")
    return notes


def matched(cases: Sequence[Unread], ledger: Ledger) -> Answers:
    """The ledger's entry of each case: found by the case's files, else by its name if that is unique."""
    by_path = {entry.input: entry for entry in ledger.entries.values() if entry.status in (DONE, FAILED)}
    several = Counter(entry.own or entry.case for entry in by_path.values())
    by_name = {entry.own or entry.case: entry for entry in by_path.values()}
    found: dict[str, Entry | None] = {}
    for case in cases:
        files = [path.absolute() for path in case.files]
        places = dict.fromkeys(str(place) for path in files for place in (path, path.parent))
        entry = next((by_path[place] for place in places if place in by_path), None)
        alone = several[case.id] == 1 and (entry is None)
        found[case.id] = by_name[case.id] if alone else entry
    return found


def arrays(cohort: Path, entry: Entry) -> Tensors:
    """The arrays of an answer. Raises InputError if they are missing or have changed since they were listed."""
    name = f"{ANSWERS}/{entry.case}/{ARRAYS}"
    path = cohort / name
    if name not in entry.files:
        raise InputError(
            f"{entry.case} has no {ARRAYS}, because of --no-arrays: run the cohort again without that option"
        )
    if not path.is_file() or sha256(path) != entry.files[name]:
        raise InputError(f"{path} differs from the ledger; expected unchanged bytes: answer the case again")
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
        return {one: stored[one] for one in stored.files}
