"""`medseg predict`: answers in the field's formats, from runs opened here or from a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.options import RunsOption


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
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Draw the outlines of all runs over each image instead, in NAME_runs.png.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the written files as JSON.")] = False,
) -> None:
    """Find, outline, and write the answers.

    Example: medseg predict luna ct.mhd --run runs/segment --run runs/nodule --out answers
    """
    from json import dumps

    from tqdm import tqdm

    from medseg.cli.asking import asking
    from medseg.cli.predicting import predictions
    from medseg.tasks import task_named

    if overlay:
        _overlay(task, inputs, run, (engine, precision), out, json)
        return
    with asking(task, run or [], url, engine, precision) as ask:
        subject, options, written = task_named(task), _luna_options(task, threshold, roi), {}
        at_once = concurrency or ((2 if subject.volumes else 4) if url else 1)
        for name, paths in predictions(subject, inputs, ask, out, options, at_once):
            written[name] = [str(path) for path in paths]
            if not json:
                tqdm.write("\n".join(written[name]))
    if json:
        typer.echo(dumps(written, indent=2))


def _overlay(
    task: str, inputs: list[Path], runs: list[Path] | None, how: tuple[str, str], out: Path, json: bool
) -> None:
    from json import dumps

    from medseg.cli.overlaying import overlays
    from medseg.errors import InputError

    if not runs:
        raise InputError("--overlay draws the outlines of runs; got none: give --run, once for each")
    written = [str(picture) for path in inputs for picture in overlays(task, path, runs, how, out)]
    typer.echo(dumps({"overlay": written}, indent=2) if json else "\n".join(written))


def _luna_options(task: str, threshold: float | None, roi: str) -> dict[str, float]:
    """The options as numbers for the pipeline's optional tensors; refused where the task has no use for them."""
    from medseg.errors import InputError

    if roi not in ("all", "lungs"):
        raise InputError(f"--roi is {roi!r}; expected 'all' or 'lungs'")
    if task != "luna" and (threshold is not None or roi != "all"):
        raise InputError(f"--threshold and --roi belong to luna; task {task!r} does not take them: leave them out")
    if task != "luna":
        return {}
    return {"roi": float(roi == "lungs"), "threshold": 0.5 if threshold is None else threshold}
