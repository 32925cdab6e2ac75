"""Runs judged on the patients that none of them has learnt from."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medseg.bench.accuracy import summary, worst
from medseg.data.grid import png
from medseg.data.picture import TRUTH, compared
from medseg.engines.runs import opened
from medseg.errors import InputError
from medseg.files import whole_file
from medseg.metrics.finding import Finding
from medseg.metrics.uw_madison import pooled
from medseg.run import Run
from medseg.task import Array, Case, Networks, Task, Tensors

WORST = 3  # cases that are drawn
Rows = dict[str, dict[str, float]]  # case -> score -> value


@dataclass
class Evaluation:
    """What runs score together: a row for each case, each case's patient, and what only all cases together have."""

    name: str
    runs: Sequence[Run]
    rows: Rows = field(default_factory=dict)
    patients: dict[str, str] = field(default_factory=dict)
    overall: dict[str, Any] = field(default_factory=dict)
    pooled: dict[str, Any] = field(default_factory=dict)  # means of all cases together that are not those of the rows
    masks: dict[str, list[Array]] = field(default_factory=dict)  # of the patients that will be drawn

    @property
    def record(self) -> dict[str, Any]:
        """The evaluation as plain values for JSON."""
        runs = [str(run.path) for run in self.runs]
        return {"runs": runs, "mean": summary(self.rows) | self.pooled, **self.overall, "cases": self.rows}


def held_out(task: Task, directory: Path, runs: Sequence[Run]) -> list[str]:
    """The folder's patients that no run has learnt from. Raises InputError where there is none."""
    patients = task.known_data("evaluate").patients(directory)
    learnt = {name for run in runs for name in run.manifest["source"].get("split", {}).get("train", ())}
    held = [name for name in patients if name not in learnt]
    if not held:
        raise InputError(
            f"{directory} holds {len(patients)} patients of {task.name} and none that the runs have not learnt from: "
            "evaluate on other data"
        )
    return held


def evaluations(
    task: Task, directory: Path, patients: Sequence[str], chosen: Mapping[str, Sequence[Run]], how: tuple[str, str]
) -> list[Evaluation]:
    """One evaluation for each lineup of runs; `how` is the engine and the precision.

    Each keeps the masks of the first one's worst cases, so that they can be drawn without asking again.
    """
    found: list[Evaluation] = []
    for name, runs in chosen.items():
        asked = task.answered_by([run.network for run in runs])
        with opened(runs, *how) as networks:
            keep = set(found[0].masks) if found else None
            found.append(_evaluation(asked, directory, patients, Evaluation(name, runs), networks, keep))
    return found


def _evaluation(
    task: Task, directory: Path, patients: Sequence[str], found: Evaluation, networks: Networks, keep: set[str] | None
) -> Evaluation:
    score = _module(task, "score")
    marks: list[Finding] = []
    for patient in tqdm(patients, desc=f"evaluating {found.name}", disable=None, delay=2):
        cases, answers = _answered(task, directory, patient, networks)
        try:
            rows, found.masks[patient] = score.rows(directory, cases, answers), score.masks(cases, answers)
        except InputError as error:
            raise InputError(f"{directory}, {patient}: {error}") from error
        found.rows |= rows
        found.patients |= dict.fromkeys(rows, patient)
        wanted = keep if keep is not None else {found.patients[row] for row in worst(found.rows, score.MAIN, WORST)}
        found.masks = {name: masks for name, masks in found.masks.items() if name in wanted}
        if task.name == "luna":
            pairs = zip(cases, answers, strict=True)
            marks += chain.from_iterable(score.marks(case.id, answer) for case, answer in pairs)
    if not found.rows:
        raise InputError(f"{directory} has no truth for its {len(patients)} patients; expected masks: add the truth")
    if task.name == "luna":
        found.overall = score.record_of(directory, marks, list(found.rows))
    if task.name == "gi-tract":
        found.pooled = pooled(found.rows)
    return found


def with_means(record: dict[str, Any]) -> dict[str, Any]:
    """A record whose cases have scores, with the means of those that are not pooled in it already."""
    return record | {"mean": summary(record["cases"]) | record["mean"]} if "cases" in record else record


def write_worst(task: Task, directory: Path, found: Sequence[Evaluation], out: Path) -> Iterator[Path]:
    """Draw the worst cases of the first evaluation, the truth and every evaluation's masks in one picture each."""
    score = _module(task, "score")
    folder = out / "worst"
    folder.mkdir(parents=True, exist_ok=True)
    for row in worst(found[0].rows, score.MAIN, WORST):
        patient = found[0].patients[row]
        known = [case for case in task.known_data("evaluate").read(directory, patient) if case.mask is not None]
        shown = [number for number, case in enumerate(known) if case.id == row or case.id.startswith(f"{row}_")]
        masks = {TRUTH: [case.mask for case in known]} | {one.name: one.masks[patient] for one in found}
        chosen = {name: [one[number] for number in shown] for name, one in masks.items()}
        path = folder / f"{row}.png"
        path.write_bytes(png(compared(score.views([known[number] for number in shown], chosen))))
        yield path


def write_cases(path: Path, rows: Rows) -> None:
    """Write the per-case table as CSV."""
    names = list(dict.fromkeys(chain.from_iterable(rows.values())))
    with whole_file(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["case", *names], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"case": case, **scores} for case, scores in rows.items())


def _answered(task: Task, directory: Path, patient: str, networks: Networks) -> tuple[Sequence[Case], list[Tensors]]:
    """A patient's cases with truth, and the pipeline's answers to them."""
    layout = task.known_data("evaluate")
    both = zip(layout.read(directory, patient), layout.questions(directory, patient), strict=True)
    pairs = [pair for pair in both if pair[0].mask is not None]
    return [case for case, _ in pairs], [task.pipeline(question, networks) for _, question in pairs]


def _module(task: Task, name: str) -> Any:
    return import_module(f"medseg.tasks.{task.name.replace('-', '_')}.{name}")
