"""`medseg evaluate`: the task's scores on patients that the runs have not learnt from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medseg.cli.options import NoVerifyOption, RunsOption


def evaluate(
    task: Annotated[str, typer.Argument(help="luna, gi-tract, brain-lgg or stas.")],
    data: Annotated[Path, typer.Argument(help="A folder in the task's native layout.")],
    run: RunsOption = None,
    submission: Annotated[Path | None, typer.Option(help="luna, gi-tract: score this CSV instead of runs.")] = None,
    engine: Annotated[str, typer.Option(help="The engine for the runs.")] = "openvino",
    precision: Annotated[str, typer.Option(help="The precision: fp32, fp16, bf16 or int8.")] = "fp32",
    no_verify: NoVerifyOption = False,
    out: Annotated[Path | None, typer.Option(help="A folder for the tables and pictures of the worst cases.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
) -> None:
    """Score runs on the patients that no run lists as learnt from; several runs of one network are compared.

    Example: medseg evaluate brain-lgg data/brain_lgg --run runs/unet --run runs/fpn --out report
    """
    from json import dumps

    from medseg.errors import InputError
    from medseg.run import Run

    Run.verify = not no_verify
    if bool(run) == bool(submission):
        raise InputError("--run and --submission: got both or neither; expected one of them")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # before anything is computed: it may not be possible
    record = (
        _submission(task, data, submission, out)
        if submission
        else _runs(task, data, run or [], (engine, precision), out)
    )
    typer.echo(dumps(record, indent=2) if json else _text(record))


def _submission(task: str, data: Path, path: Path, out: Path | None) -> dict[str, Any]:
    from importlib import import_module

    from medseg.cli.evaluation import with_means, write_cases
    from medseg.errors import InputError

    known = {"luna": "medseg.tasks.luna.score", "gi-tract": "medseg.tasks.gi_tract.submission"}
    if task not in known:
        raise InputError(
            f"--submission is for luna and gi-tract; task {task!r} has no submission format here: give --run instead"
        )
    record = {"task": task, **with_means(import_module(known[task]).submission_record(data, path))}
    if out is not None:
        _write_record(out, record)
        if "cases" in record:
            write_cases(out / "cases.csv", record["cases"])
    return record


def _write_record(out: Path, record: dict[str, Any]) -> None:
    from json import dumps

    from medseg.files import whole_file

    with whole_file(out / "evaluation.json") as temporary:
        temporary.write_text(dumps(record, indent=2) + "\n")


def _runs(task: str, data: Path, paths: list[Path], how: tuple[str, str], out: Path | None) -> dict[str, Any]:
    from medseg.cli.evaluation import evaluations, held_out, write_cases, write_worst
    from medseg.engines.runs import lineups
    from medseg.run import Run
    from medseg.tasks import task_named

    subject, runs = task_named(task), [Run(path) for path in paths]
    patients = held_out(subject, data, runs)
    found = evaluations(subject, data, patients, lineups(runs), how)
    record = {
        "task": task,
        "engine": how[0],
        "precision": how[1],
        "unknown_training": [str(run.path) for run in runs if "split" not in run.manifest["source"]],
        "patients": patients,
        "evaluations": {one.name: one.record for one in found},
    }
    if out is not None:
        _write_record(out, record)
        for number, one in enumerate(found, 1):
            write_cases(out / (f"cases-{number}.csv" if len(found) > 1 else "cases.csv"), one.rows)
        record["pictures"] = [str(path) for path in write_worst(subject, data, found, out)]
    return record


def _text(record: dict[str, Any]) -> str:
    if "evaluations" not in record:
        return "\n".join([*_scores(record["task"], record), *(f"note: {note}" for note in record["notes"])])
    lines = [
        f"{len(record['patients'])} held-out patients of {record['task']}, {record['engine']} {record['precision']}"
    ]
    lines += [f"note: {path} does not say which patients it has learnt from" for path in record["unknown_training"]]
    for name, found in record["evaluations"].items():
        lines += ["", name, *_scores(record["task"], found)]
    return "\n".join([*lines, *(f"drawn: {path}" for path in record.get("pictures", ()))])


def _scores(task: str, found: dict[str, Any]) -> list[str]:
    """A table of the cases and their means, and the FROC, where there are any."""
    froc = [_froc(found)] if "cpm" in found else []
    if "cases" not in found:
        return froc
    return [*_table(found["cases"], _counts(task)), "", *(_mean(*entry) for entry in found["mean"].items()), *froc]


def _counts(task: str) -> set[str]:
    """The scores of a task that are counts, which have no decimals."""
    from medseg.metrics.definitions import COUNT
    from medseg.tasks import task_named

    return {metric.key for metric in task_named(task).known_scoring("evaluate").evaluated if metric.unit == COUNT}


def _table(cases: dict[str, dict[str, float]], counts: set[str]) -> list[str]:
    names = list(dict.fromkeys(name for scores in cases.values() for name in scores))
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


def _mean(name: str, found: dict[str, Any]) -> str:
    if found["low"] is None:
        return f"{name}: {found['mean']:.4f} (one case)"
    return (
        f"{name}: {found['mean']:.4f} (95 % interval {found['low']:.4f} to {found['high']:.4f}, {found['cases']} cases)"
    )


def _froc(record: dict[str, Any]) -> str:
    """The CPM, and a table of the sensitivities with their intervals."""
    bands = record["intervals"] or {"cpm": None, "sensitivity": {}}
    rows = [("false positives a scan", "sensitivity", "95 % interval" if bands["cpm"] else "")]
    rows += [
        (rate, f"{value:.3f}", _band(bands["sensitivity"].get(rate))) for rate, value in record["sensitivity"].items()
    ]
    scans = f"{record['scans']} scans, {record['scans_with_marks']} of them with marks"
    nodules = f"{record['nodules']} nodules, {record['nodules_hit']} of them hit by a mark"
    return "\n".join(
        [
            f"CPM: {record['cpm']:.3f}" + (f" (95 % interval {_band(bands['cpm'])})" if bands["cpm"] else ""),
            *(f"{rate:>22}  {value:>11}  {band}".rstrip() for rate, value, band in rows),
            f"{scans}; {nodules}; {record['false_marks']} marks hit nothing",
        ]
    )


def _band(band: Any) -> str:
    return f"{band[0]:.3f} to {band[1]:.3f}" if band else ""
