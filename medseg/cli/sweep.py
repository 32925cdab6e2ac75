"""`medseg sweep`: fit every combination of a grid and rank the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.options import DataArgument, JsonOption, NetworkArgument
from medseg.cli.words import filled


def sweep(
    context: typer.Context,
    network: NetworkArgument,
    data: DataArgument,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder of the runs, of sweep.csv and sweep.md.")],
    grid: Annotated[
        list[str],
        typer.Option(help="An option of `medseg train` and its values, such as loss=dice,iou; more may follow."),
    ],
    json: JsonOption = False,
) -> None:
    """Fit every combination; print the table, best first. Run again, it goes on where it stopped; every run is kept.

    Words after the first of --grid are more of the grid; other options go to every fit.

    Example: medseg sweep brain-lgg data/kaggle_3m --out runs/sweep --grid loss=dice,iou optimizer=adam,sgd --epochs 30
    """
    from json import dumps

    filled(network, data, "train")  # before a process of its own imports torch
    from medseg.train.sweep import grid_from, markdown
    from medseg.train.sweep import sweep as run_sweep

    words = [word for word in context.args if "=" in word and not word.startswith("-")]
    more = [word for word in context.args if word not in words]
    rows = run_sweep(network, data, out, grid_from([*grid, *words]), more)
    typer.echo(dumps(rows) if json else markdown(rows), nl=json)
