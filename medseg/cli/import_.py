"""`medseg import`: a published checkpoint into a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

_SHOWN = 3  # keys of a line


def import_(
    network: Annotated[str, typer.Argument(help="The network the checkpoint belongs to, such as luna-segment.")],
    checkpoint: Annotated[Path, typer.Argument(help="The author's own file: .state, .pt, .pth or .safetensors.")],
    out: Annotated[Path, typer.Option(help="The new run folder.")],
    arch: Annotated[str | None, typer.Option(help="The architecture, where the network has several.")] = None,
    features: Annotated[
        int | None, typer.Option(help="The width of the first level, where it is not the default.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Which weights, where the file has several sets: plain, ema, or a set's name.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the run's manifest as JSON.")] = False,
) -> None:
    """Import published weights into a run.

    Example: medseg import luna-segment seg.best.state --out runs/luna-segment
    """
    from json import dumps

    from medseg.export.graph import save_program
    from medseg.run import Run, whole_run
    from medseg.tasks import network_named
    from medseg.train.weights import import_weights

    chosen = network_named(network)
    with whole_run(out) as folder:
        options = {"arch": arch, "features": features}
        save_program(import_weights(chosen, checkpoint, folder, options, weights), chosen)
    run = Run(out)
    if json:
        typer.echo(dumps(run.manifest))
        return
    typer.echo(f"{run.path}: {run.network}, {run.manifest['parameters']:,} parameters, from {checkpoint.name}")
    for line in _said(run.manifest["source"]):
        typer.echo(line)


def _said(source: dict[str, Any]) -> Iterator[str]:
    """What was done with the checkpoint's keys, a line each."""
    if chosen := source.get("weights"):
        yield f"weights: {chosen}"
    if prefix := source.get("prefix"):
        yield f"dropped: the prefix {prefix} of all keys"
    if wrappers := source.get("wrappers"):
        yield f"dropped: {', '.join(f'{name}.' for name in wrappers)} within keys"
    for start in source.get("left_out", ()):
        yield f"left out: {start}*, which the answer does not need"
    if beside := source.get("beside"):
        more = f" and {len(beside) - _SHOWN} more" if len(beside) > _SHOWN else ""
        yield f"left out: {', '.join(beside[:_SHOWN])}{more}, which lie beside the network"
