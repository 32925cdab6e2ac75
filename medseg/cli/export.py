"""`medseg export`: a run's network as ONNX in several precisions and as TensorRT engines, each with its proof."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from medseg.run import Run


def export(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders, made by import or train.")],
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Also float16, within a Dice of 0.999 to torch's masks.")
    ] = False,
    calibration: Annotated[
        Path | None, typer.Option(help="The task's data: real samples to judge on. Made-up ones without.")
    ] = None,
    dice: Annotated[float | None, typer.Option(min=0, max=1, help="Another Dice bound for fp16 and int8.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="How many samples to judge on.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print every recorded file with its facts as JSON.")] = False,
) -> None:
    """Export runs to ONNX, and prove each file against torch before it is recorded.

    Example: medseg export runs/luna-segment runs/luna-nodule --fp16 --calibration ../shared/data/luna
    """
    import json as text
    import shlex

    from medseg.export.chain import Wanted, export
    from medseg.tasks import network_named

    command = shlex.join(["medseg", *sys.argv[1:]])
    wanted = Wanted(fp16=fp16, data=calibration, dice=dice, samples=samples, command=command)
    opened = [Run(path) for path in runs]
    for run in opened:
        export(run, network_named(run.network), wanted, _progress(run.path))
    typer.echo(text.dumps({str(run.path): run.files for run in opened}) if json else _table(opened))


def _progress(path: Path) -> Callable[[str], None]:
    started = perf_counter()

    def tell(stage: str) -> None:
        if sys.stderr.isatty():
            typer.echo(f"{path} {perf_counter() - started:5.1f} s  {stage}", err=True)

    return tell


def _table(runs: list[Run]) -> str:
    """One line for each recorded file with its parity."""
    lines = []
    for run in runs:
        for name, facts in run.files.items():
            parity = facts.get("parity")
            words = f"Dice {parity['dice']:.5f}, {parity['flipped']} flipped of {parity['voxels']}" if parity else ""
            lines.append(f"{run.path / name}  {facts['bytes'] / 1e6:.1f} MB  {words}".rstrip())
    return "\n".join(lines)
