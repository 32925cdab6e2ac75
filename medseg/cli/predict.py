"""`medseg predict`: answers in the field's formats, from runs opened here or from a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.options import NoVerifyOption, RunsOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from medseg.api.sources import Destination
    from medseg.errors import InputError
    from medseg.task import Reading, Source, Task


def predict(
    task: Annotated[str, typer.Argument(help="luna, gi-tract, brain-lgg or stas.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Files or folders in the task's formats.")],
    out: Annotated[Path, typer.Option(help="The folder for the answers.")],
    run: RunsOption = None,
    url: Annotated[
        str | None,
        typer.Option(help="A running server: http://127.0.0.1:8000, or grpcs://HOST:8443 (docs/serving.md)."),
    ] = None,
    engine: Annotated[str, typer.Option(help="The engine for --run.")] = "openvino",
    precision: Annotated[str, typer.Option(help="The precision for --run: fp32, fp16, bf16 or int8.")] = "fp32",
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Files asked at a time.  [default: with --url 4 pictures or 2 volumes, else 1]"),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="luna: list nodules from this probability on.  [default: 0.5]")
    ] = None,
    roi: Annotated[
        str, typer.Option(help="luna: 'lungs' searches the lungs with a margin, 'all' the whole CT.")
    ] = "all",
    candidates: Annotated[
        bool, typer.Option("--candidates", help="luna: write everything that was looked at too, in candidates.nii.gz.")
    ] = False,
    spacing: Annotated[
        str | None,
        typer.Option(help="luna: voxel spacing X,Y,Z in mm of volumes whose file has none, such as 0.7,0.7,2.5."),
    ] = None,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="luna: go on without a series' damaged files, with a note.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier answers in --out.")] = False,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Draw the outlines of all runs over each image instead, in NAME_runs.png.")
    ] = False,
    no_verify: NoVerifyOption = False,
    json: Annotated[bool, typer.Option("--json", help="Print the written files as JSON.")] = False,
) -> None:
    """Find, outline, and write the answers.

    Example: medseg predict luna ct.mhd --run runs/segment --run runs/nodule --out answers
    """
    from json import dumps

    from tqdm import tqdm

    from medseg.api.predict import Asked, predictions
    from medseg.api.predictor import open_predictor
    from medseg.api.sources import Destination, check_new, found
    from medseg.run import Run
    from medseg.tasks import task_named

    Run.verify = not no_verify
    subject, options = task_named(task), _luna_options(task, threshold, roi)
    extras = _extras(task, candidates)
    sources = found(subject, inputs, _reading(task, spacing, skip_damaged))
    if overlay:
        _overlay(subject, sources, run, (engine, precision), Destination(out, overwrite), json)
        return
    where = Destination(out, overwrite, apart=subject.files.volumes and len(sources) > 1)
    check_new(subject, sources, where)
    written = {}
    with open_predictor(task, run or [], url, engine, precision) as predictor:
        at_once = concurrency or ((2 if subject.files.volumes else 4) if url else 1)
        about = dict(predictor.made_by) | {"options": options}
        asked = Asked(at_once, options, about, extras)
        for name, paths in predictions(subject, sources, predictor.ask, where, asked):
            written[name] = [str(path) for path in paths]
            if not json:
                tqdm.write("\n".join(written[name]))
    if json:
        typer.echo(dumps(written, indent=2))


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


def _reading(task: str, spacing: str | None, skip_damaged: bool) -> Reading:
    """How files that leave something open are read; refused where the task's files leave nothing open."""
    from medseg.errors import InputError
    from medseg.task import Reading

    if task != "luna" and (spacing is not None or skip_damaged):
        raise InputError(
            f"--spacing and --skip-damaged belong to luna; task {task!r} does not take them: leave them out"
        )
    if spacing is None:
        return Reading(skip_damaged=skip_damaged)
    try:
        x, y, z = (float(number) for number in spacing.split(","))
    except ValueError:
        x = y = z = 0.0
    if not all(0.01 <= number <= 100 for number in (x, y, z)):
        raise InputError(f"--spacing is {spacing!r}; expected X,Y,Z in mm, each 0.01 to 100, such as 0.7,0.7,2.5")
    return Reading((x, y, z), skip_damaged)


def _extras(task: str, candidates: bool) -> tuple[str, ...]:
    """The files that are asked for beside the usual ones; refused where the task has none."""
    from medseg.errors import InputError

    if candidates and task != "luna":
        raise InputError(f"--candidates belongs to luna; task {task!r} does not take it: leave it out")
    return ("candidates",) if candidates else ()


def _luna_options(task: str, threshold: float | None, roi: str) -> dict[str, float | str]:
    """The options for the pipeline's optional tensors; refused where the task has no use for them."""
    from medseg.errors import InputError

    if roi not in ("all", "lungs"):
        raise InputError(f"--roi is {roi!r}; expected 'all' or 'lungs'")
    if task != "luna" and (threshold is not None or roi != "all"):
        raise InputError(f"--threshold and --roi belong to luna; task {task!r} does not take them: leave them out")
    if task != "luna":
        return {}
    return {"roi": roi, "threshold": 0.5 if threshold is None else threshold}
