"""`medseg predict`: answers in the field's formats, from runs opened here or from a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.options import EngineOption, JsonOption, NoVerifyOption, PrecisionOption, RunsOption, TaskArgument
from medseg.cli.task_options import own
from medseg.cli.words import enough

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from medseg.api.sources import Destination
    from medseg.errors import InputError
    from medseg.task import Source, Task


def predict(
    ctx: typer.Context,
    task: TaskArgument,
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Files or folders in the task's formats.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for the answers.")],
    run: RunsOption = None,
    url: Annotated[
        str | None,
        typer.Option(help="A running server: http://127.0.0.1:8000, or grpcs://HOST:8443 (docs/serving.md)."),
    ] = None,
    engine: EngineOption = "openvino",
    precision: PrecisionOption = "fp32",
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many files are answered at a time. [default: with --url 4 pictures or 2 volumes, else 1]"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier answers in --out.")] = False,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Instead draw the outlines of all runs over each image, in NAME_runs.png.")
    ] = False,
    no_verify: NoVerifyOption = False,
    json: JsonOption = False,
) -> None:
    """Run a task on files and write the answers. A task's own options: `medseg predict TASK --help`.

    Example: medseg predict luna ct.mhd --run runs/segment --run runs/nodule --out answers
    """
    from medseg.api.predict import Asked, predictions
    from medseg.api.predictor import open_predictor
    from medseg.api.sources import Destination, check_new, found
    from medseg.run import Run
    from medseg.task import Source
    from medseg.tasks import task_named

    Run.verify = not no_verify
    subject = _subject(task_named(task), run, url)
    asked_for = own(subject, ctx)
    sources = found(subject, inputs, asked_for.reading)
    if overlay:
        _overlay(subject, sources, run, (engine, precision), Destination(out, overwrite), json)
        return
    where = Destination(out, overwrite, apart=subject.files.volumes and len(sources) > 1)
    check_new(subject, sources, where)
    refused = not any(isinstance(one, Source) for one in sources)
    if bool(run) != bool(url) and refused:  # reported before anything is opened
        list(predictions(subject, sources, dict, where, Asked()))
    if run:
        enough(task, run)
    with open_predictor(task, run or [], url, engine, precision) as predictor:
        at_once = concurrency or ((2 if subject.files.volumes else 4) if url else 1)
        about = dict(predictor.made_by) | {"options": asked_for.options}
        asked = Asked(at_once, asked_for.options, about, asked_for.extras)
        _told(predictions(predictor.task, sources, predictor.ask, where, asked), json)


def _told(answers: Iterable[tuple[str, list[Path]]], json: bool) -> None:
    """Print the files as they are written, or as JSON when all are written."""
    from json import dumps

    from tqdm import tqdm

    written = {}
    for name, paths in answers:
        written[name] = [str(path) for path in paths]
        if not json:
            tqdm.write("\n".join(written[name]))
    if json:
        typer.echo(dumps(written, indent=2))


def _subject(task: Task, runs: list[Path] | None, url: str | None) -> Task:
    """The task; if its runs describe it, as these runs or the server's do, because they say how its files are read."""
    from medseg.api.predictor import served_as
    from medseg.run import Run
    from medseg.tasks import task_as

    if not task.described or bool(runs) == bool(url):  # which is refused in its own words
        return task
    return served_as(task.name, url) if url else task_as(task.name, [Run(path) for path in runs or ()])


def _overlay(
    task: Task,
    sources: Sequence[Source | InputError],
    runs: list[Path] | None,
    how: tuple[str, str],
    where: Destination,
    json: bool,
) -> None:
    from json import dumps

    from medseg.api.overlay import overlays
    from medseg.errors import InputError

    if not runs:
        raise InputError("--overlay draws the outlines of runs; got none: give --run, once for each")
    written = [str(picture) for picture in overlays(task, sources, runs, how, where)]
    typer.echo(dumps({"overlay": written}, indent=2) if json else "\n".join(written))
