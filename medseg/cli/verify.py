"""`medseg verify`: whether a run's files are still what its manifest says."""

from __future__ import annotations

import typer

from medseg.cli.options import JsonOption, RunArguments
from medseg.errors import RunError
from medseg.run import Run


def verify(
    runs: RunArguments,
    json: JsonOption = False,
) -> None:
    """Compare every file of a run with its recorded sha256.

    Example: medseg verify runs/luna-segment
    """
    import json as text

    from medseg.tasks import network_of

    opened = [Run(path) for path in runs]
    for run in opened:
        network_of(run)
    problems = {str(run.path): run.problems() for run in opened}
    if json:
        typer.echo(
            text.dumps(
                {str(run.path): {"files": list(run.files), "problems": problems[str(run.path)]} for run in opened}
            )
        )
    for run in opened if not json else ():
        if not problems[str(run.path)]:
            typer.echo(f"{run.path}: {len(run.files)} files as recorded")
    found = [problem for listed in problems.values() for problem in listed]
    if found:
        raise RunError("; ".join(found))
