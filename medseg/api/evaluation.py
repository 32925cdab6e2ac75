"""What `medseg evaluate` does: runs scored on patients on which none of them was trained, or a table of answers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medseg.data.grid import png
from medseg.engines.runs import as_runs, lineups, opened
from medseg.errors import InputError
from medseg.files import whole_file
from medseg.run import Run
from medseg.scoring import Rows
from medseg.task import Networks, Task
from medseg.tasks import task_as, task_named
from medseg.tasks.scorer import WORST, Scored, Scorer, scored


@dataclass(frozen=True)
class Evaluation:
    """The scores of runs that answer together, and their scorer, which keeps the answers of the worst rows."""

    name: str
    runs: tuple[Run, ...]
    scored: Scored
    scorer: Scorer


@dataclass(frozen=True)
class Evaluated:
    """The scores of runs, by the name of those that answer together, or of a table of answers, by its file's name."""

    task: str
    scores: Mapping[str, Scored]
    runs: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    engine: str = ""
    precision: str = ""
    patients: tuple[str, ...] = ()
    unknown_training: tuple[Path, ...] = ()  # runs that do not say on which patients they were trained
    notes: tuple[str, ...] = ()
    pictures: tuple[Path, ...] = ()

    @property
    def record(self) -> dict[str, Any]:
        """The same as plain values for JSON."""
        if not self.runs:
            (only,) = self.scores.values()
            return {"task": self.task, **_plain(only), "notes": list(self.notes)}
        found = {
            name: {"runs": [str(path) for path in self.runs[name]], **_plain(one)} for name, one in self.scores.items()
        }
        return {
            "task": self.task,
            "engine": self.engine,
            "precision": self.precision,
            "unknown_training": [str(path) for path in self.unknown_training],
            "patients": list(self.patients),
            "evaluations": found,
            "pictures": [str(path) for path in self.pictures],
        }


def _plain(one: Scored) -> dict[str, Any]:
    return {
        "mean": {name: asdict(mean) for name, mean in one.means.items()},
        "counts": dict(one.counts),
        "cases": one.rows,
    }


def evaluate(
    task: str,
    data: Path | str,
    runs: Sequence[Run | Path | str],
    how: tuple[str, str] = ("openvino", "fp32"),
    out: Path | None = None,
    overwrite: bool = False,
) -> Evaluated:
    """The scores of runs on a folder's patients, without those they were trained on; `how` is engine and precision.

    Several runs of one network are compared. `out` gets evaluation.json, a CSV table for each lineup, pictures of the
    worst cases, and what the task writes in its field's own layout. Raises InputError where the task has no scores, no
    patients are left to score on, or `out` holds an earlier report that may not be overwritten.

    >>> import medseg
    >>> found = medseg.evaluate("luna", "data", ["runs/luna-segment", "runs/luna-nodule"])
    >>> sorted(found.scores["luna-segment + luna-nodule"].rows) == sorted(found.patients)
    True
    """
    subject, held = task_named(task), as_runs(runs)
    own = tuple(subject.known_scoring("evaluate").written)
    _check_new(out, overwrite, own)
    patients = held_out(subject, Path(data), held)
    found = evaluations(subject, Path(data), patients, lineups(held), how)
    _remove_report(out, own)
    if out:
        _write_own(task, Path(data), found, out)
    return _kept(
        Evaluated(
            task,
            {one.name: one.scored for one in found},
            {one.name: tuple(run.path for run in one.runs) for one in found},
            *how,
            tuple(patients),
            tuple(run.path for run in held if "split" not in run.manifest["source"]),
            pictures=tuple(_write_worst(found, out)) if out else (),
        ),
        out,
    )


def evaluate_submission(
    task: str, data: Path, submission: Path, out: Path | None = None, overwrite: bool = False
) -> Evaluated:
    """The scores of a table of answers in the field's own format.

    Raises InputError where the task has no such format, or `out` holds a report that may not be overwritten.
    """
    scoring = task_named(task).known_scoring("evaluate a submission")
    judge = scoring.submission
    if judge is None:
        raise InputError(f"task {task!r} has no submission format, so --submission is not for it: give --run instead")

    def found() -> Evaluated:
        said = judge(data, submission)
        return Evaluated(task, {submission.name: scored(scoring, said.rows, said.overall)}, notes=said.notes)

    return reported(found, out, overwrite)


def reported(found: Callable[[], Evaluated], out: Path | None, overwrite: bool) -> Evaluated:
    """What was found, written to `out`. An earlier report there is replaced, but only with `overwrite`."""
    _check_new(out, overwrite)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    evaluated = found()
    _remove_report(out)
    return _kept(evaluated, out)


def _report(out: Path | None, own: Sequence[str]) -> list[Path]:
    """Every file of an earlier report in the folder; `own` are the files that the task adds to the usual ones."""
    several = [f"{path.stem}-[0-9]*{path.suffix}" for path in map(Path, own)]
    patterns = ("evaluation.json", "cases.csv", "cases-[0-9]*.csv", "worst/*.png", *own, *several)
    return [path for pattern in patterns for path in sorted(out.glob(pattern))] if out else []


def _check_new(out: Path | None, overwrite: bool, own: Sequence[str] = ()) -> None:
    """Raise InputError where an earlier report would be overwritten, unless it may be."""
    there = [] if overwrite else _report(out, own)
    if there:
        raise InputError(
            f"{there[0]} of an earlier report would be overwritten; expected a new --out: choose one, or add "
            "--overwrite"
        )


def _remove_report(out: Path | None, own: Sequence[str] = ()) -> None:
    """Delete an earlier report: of other runs it may have more tables and pictures than the new one."""
    for path in _report(out, own):
        path.unlink()


def held_out(task: Task, directory: Path, runs: Sequence[Run]) -> list[str]:
    """The folder's patients on which no run was trained. Raises InputError where there is none."""
    task.known_scoring("evaluate")
    patients = task.known_data("evaluate").patients(directory)
    learnt = {name for run in runs for name in run.manifest["source"].get("split", {}).get("train", ())}
    held = [name for name in patients if name not in learnt]
    if not held:
        raise InputError(
            f"{directory} holds {len(patients)} patients of {task.name} and the runs were trained on all of them: "
            "evaluate on other data"
        )
    return held


def evaluations(
    task: Task, directory: Path, patients: Sequence[str], chosen: Mapping[str, Sequence[Run]], how: tuple[str, str]
) -> list[Evaluation]:
    """One evaluation for each lineup of runs; `how` is the engine and the precision.

    Each keeps the answers of the first one's worst rows, so that they can be drawn without computing them again.
    """
    found: list[Evaluation] = []
    for name, runs in chosen.items():
        asked = task_as(task.name, runs)
        keep = found[0].scorer.drawable if found else WORST
        with opened(runs, *how) as networks:
            scorer = _answered(asked, directory, patients, networks, keep, f"evaluating {name}")
        found.append(Evaluation(name, tuple(runs), scorer.scored(), scorer))
        if not found[-1].scored.rows:
            raise InputError(
                f"{directory} has no truth for its {len(patients)} patients; expected masks: add the truth"
            )
    return found


def _answered(
    task: Task, directory: Path, patients: Sequence[str], networks: Networks, keep: Collection[str] | int, title: str
) -> Scorer:
    """The pipeline's answers to these patients' cases, scored."""
    layout = task.known_data("evaluate")
    cases = {patient: layout.cases(directory, patient) for patient in patients}
    scorer = Scorer(task, directory, [*chain.from_iterable(cases.values())], keep=keep)
    for patient in tqdm(patients, desc=title, disable=None, delay=2):
        known = {case.id for case in scorer.read(patient)}  # a wrong truth is reported before anything is computed
        for case in cases[patient]:
            if case.id in known:
                scorer.add(case.id, task.pipeline(case.ask(), networks))
    return scorer


def _write_worst(found: Sequence[Evaluation], out: Path) -> Iterator[Path]:
    """Draw the worst rows of the first evaluation, the truth and every evaluation's masks in one picture each."""
    folder = out / "worst"
    folder.mkdir(parents=True, exist_ok=True)
    for row in found[0].scorer.drawable:
        picture = found[0].scorer.picture(row, {one.name: one.scorer.masks(row) for one in found})
        path = folder / f"{row}.png"
        with whole_file(path) as temporary:
            temporary.write_bytes(png(picture))
        yield path


def _kept(found: Evaluated, out: Path | None) -> Evaluated:
    """What was found; it is also written to the folder, if one is given."""
    if out is None:
        return found
    with whole_file(out / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(found.record, indent=2) + "\n")
    several = len(found.scores) > 1
    for number, one in enumerate(found.scores.values(), 1):
        if one.rows:
            _write_cases(out / (f"cases-{number}.csv" if several else "cases.csv"), one.rows)
    return found


def _write_own(task: str, data: Path, found: Sequence[Evaluation], out: Path) -> None:
    """Write what a task has in its field's own layout, of each lineup."""
    for number, one in enumerate(found, 1):
        for name, text in task_as(task, one.runs).known_scoring("evaluate").written.items():
            path = Path(name)
            with whole_file(out / (f"{path.stem}-{number}{path.suffix}" if len(found) > 1 else name)) as temporary:
                temporary.write_text(text(data, one.scored.rows))


def _write_cases(path: Path, rows: Rows) -> None:
    """Write the table of rows as CSV."""
    names = list(dict.fromkeys(chain.from_iterable(rows.values())))
    with whole_file(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["case", *names], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"case": case, **scores} for case, scores in rows.items())
