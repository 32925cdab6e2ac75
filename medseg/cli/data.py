"""`medseg data`: made-up patients to try everything with, and what is wrong with a data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medseg.cli.options import DataArgument, JsonOption, TaskArgument
from medseg.cli.words import filled

data = typer.Typer(no_args_is_help=True, help="Make up data, or check data.", rich_markup_mode=None)


@data.command("phantom")
def phantom(
    task: TaskArgument,
    out: Annotated[Path, typer.Option(metavar="DATA", help="The folder to write to; it must be new or empty.")],
    patients: Annotated[int, typer.Option(min=1, max=10_000, help="How many patients.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same files.")] = 0,
    json: JsonOption = False,
) -> None:
    """Write made-up patients in the task's native layout.

    Example: medseg data phantom luna --out data/phantom --patients 4
    """
    from json import dumps

    from medseg.errors import InputError
    from medseg.tasks import task_named

    layout = task_named(task).known_data("make up patients")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty; made-up patients must not mix with others: choose a new folder")
    out.mkdir(parents=True, exist_ok=True)
    layout.phantom(out, patients, seed)
    if json:
        typer.echo(dumps({"task": task, "data": str(out), "patients": patients, "seed": seed}))
        return
    typer.echo(f"{out}: {patients} made-up {'patients' if patients > 1 else 'patient'} of {task}")


@data.command("check")
def check(
    task: TaskArgument,
    directory: DataArgument,
    json: JsonOption = False,
) -> None:
    """Read every file of a data folder; list what it holds and every problem.

    The exit code is 1 if there is a problem.

    Example: medseg data check luna data/luna
    """
    from json import dumps

    from tqdm import tqdm

    from medseg.data.check import report
    from medseg.tasks import task_named

    layout = task_named(task).known_data("check a folder")
    filled(task, directory, "check a folder")
    patients = len(layout.patients(directory))
    found = report(tqdm(layout.check(directory), desc="checking", total=patients, disable=None, delay=2))
    typer.echo(dumps(found.record, indent=2) if json else _text(found.record))
    if found.problems:
        raise typer.Exit(1)


def _text(found: dict[str, Any]) -> str:
    lines = [f"{name.replace('_', ' ')}: {_value(value)}" for name, value in found.items() if name != "problems"]
    return "\n".join(
        [*lines, *(f"problem: {problem}" for problem in found["problems"]), f"problems: {len(found['problems'])}"]
    )


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} ({count} times)" for name, count in value.items()) or "unknown"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
