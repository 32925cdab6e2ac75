"""`medseg evaluate`: the task's scores on patients on which the runs were not trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.options import (
    DataArgument,
    EngineOption,
    JsonOption,
    NoVerifyOption,
    PrecisionOption,
    RunsOption,
    TaskArgument,
)
from medseg.cli.words import each, filled, there

if TYPE_CHECKING:
    from collections.abc import Iterable

    from medseg.api.evaluation import Evaluated
    from medseg.scoring import Mean, Rows, Scoring
    from medseg.tasks.scorer import Scored


def evaluate(
    task: TaskArgument,
    data: DataArgument,
    run: RunsOption = None,
    submission: Annotated[
        Path | None,
        typer.Option(help="Score this CSV, in the task's own format, instead of runs."),
    ] = None,
    cohort: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Score the answers of `medseg batch --out DIR`; --run then leaves out the patients on "
            "which those runs were trained.",
            callback=each(there),
        ),
    ] = None,
    engine: EngineOption = "openvino",
    precision: PrecisionOption = "fp32",
    no_verify: NoVerifyOption = False,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder for the tables and pictures of the worst cases.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier report in --out.")] = False,
    json: JsonOption = False,
) -> None:
    """Score runs on patients that none of them was trained on; compare runs of the same network.

    Example: medseg evaluate brain-lgg data/brain_lgg --run runs/unet --run runs/fpn --out report
    """
    from json import dumps

    from medseg.api import evaluation
    from medseg.errors import InputError
    from medseg.run import Run
    from medseg.tasks import network_of, task_named

    Run.verify = not no_verify
    if cohort and submission:
        raise InputError("--cohort and --submission: got both; expected one of them")
    if not cohort and bool(run) == bool(submission):
        raise InputError("--run and --submission: got both or neither; expected one of them, or --cohort")
    task_named(task).known_scoring("evaluate")
    if not submission:  # which needs the folder's tables alone
        filled(task, data, "evaluate")
    for one in run or ():
        network_of(Run(one))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # before anything is computed: it may not be possible
    if cohort:
        from medseg.cohort.scores import evaluate_cohort

        found = evaluate_cohort(task, data, cohort, run or [], out, overwrite)
    elif submission:
        found = evaluation.evaluate_submission(task, data, submission, out, overwrite)
    else:
        found = evaluation.evaluate(task, data, run or [], (engine, precision), out, overwrite)
    scoring = task_named(task).known_scoring("evaluate")
    typer.echo(dumps(found.record, indent=2) if json else _text(found, scoring))


def _text(found: Evaluated, scoring: Scoring) -> str:
    lines = [*_runs(found)] if found.runs else []
    for name, one in found.scores.items():
        lines += ["", name] if found.runs else []
        lines += _scores(one, scoring)
    lines += [f"note: {note}" for note in found.notes]
    return "\n".join([*lines, *(f"drawn: {path}" for path in found.pictures)])


def _runs(found: Evaluated) -> list[str]:
    count = len(found.patients)
    lines = [f"{count} held-out patients of {found.task}, {found.engine} {found.precision}"]
    return [
        *lines,
        *(f"note: {path} does not say on which patients it was trained" for path in found.unknown_training),
    ]


def _scores(one: Scored, scoring: Scoring) -> list[str]:
    """A table of the rows, the means, and what was counted; the scores of single voters are only in the files."""
    lines = [*_table(one.rows, scoring), ""] if one.rows else []
    lines += [_mean(name, one.means[name]) for name in _listed(one.means, scoring)]
    return [*lines, *(f"{name}: {count}" for name, count in one.counts.items())]


def _listed(keys: Iterable[str], scoring: Scoring) -> list[str]:
    """The scores that are printed: not those of single voters, and none that the task keeps for the files."""
    from medseg.metrics.definitions import metric_of
    from medseg.metrics.voters import is_voters

    kept = [metric for metric in scoring.metrics if metric.key in scoring.unlisted]
    return [key for key in keys if not is_voters(key) and metric_of(kept, key) is None]


def _table(cases: Rows, scoring: Scoring) -> list[str]:
    from medseg.metrics.definitions import COUNT

    counts = {metric.key for metric in scoring.metrics if metric.unit == COUNT}  # have no decimals
    found = dict.fromkeys(name for scores in cases.values() for name in scores)
    names = _listed(found, scoring)
    rows = [["case", *names]]
    for case, scores in cases.items():
        forms = {name: "{:.0f}" if name in counts else "{:.4f}" for name in names}
        rows.append([case, *(forms[name].format(scores[name]) if name in scores else "-" for name in names)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _mean(name: str, found: Mean) -> str:
    if found.low is None or found.high is None:
        return f"{name}: {found.mean:.4f} ({'one case' if found.cases == 1 else f'{found.cases} cases'})"
    return f"{name}: {found.mean:.4f} (95 % interval {found.low:.4f} to {found.high:.4f}, {found.cases} cases)"
