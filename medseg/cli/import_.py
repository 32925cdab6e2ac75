"""`medseg import`: a published checkpoint into a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_(
    network: Annotated[str, typer.Argument(help="The network the checkpoint belongs to, such as luna-segment.")],
    checkpoint: Annotated[Path, typer.Argument(help="The author's own file: .state, .pt, .pth or .safetensors.")],
    out: Annotated[Path, typer.Option(help="The new run folder.")],
    arch: Annotated[
        str | None, typer.Option(help="The architecture, where the network has several (brain-lgg).")
    ] = None,
    features: Annotated[
        int | None, typer.Option(help="The width of the first level, where it is not the default.")
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
        save_program(import_weights(chosen, checkpoint, folder, {"arch": arch, "features": features}), chosen)
    run = Run(out)
    if json:
        typer.echo(dumps(run.manifest))
        return
    typer.echo(f"{run.path}: {run.network}, {run.manifest['parameters']:,} parameters, from {checkpoint.name}")
    for start in run.manifest["source"].get("left_out", ()):
        typer.echo(f"left out: {start}*, which the answer does not need")
