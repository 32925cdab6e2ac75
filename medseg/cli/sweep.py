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
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster that runs the fits in parallel: auto or ray://HOST:10001.")
    ] = None,
    cores: Annotated[int, typer.Option(min=1, help="With --address: the cores of each fit.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="With --address: the GPUs of each fit.")] = 0,
    json: JsonOption = False,
) -> None:
    """Train every combination of options; print the table, best first.

    If you run it again, it continues where it stopped; every run is kept.

    All words after --grid up to the next option belong to the grid; other options apply to every fit.

    Example: medseg sweep brain-lgg data/kaggle_3m --out runs/sweep --grid loss=dice,iou optimizer=adam,sgd --epochs 30
    """
    from json import dumps

    filled(network, data, "train")  # before a process of its own imports torch
    from medseg.train.sweep import Fits, grid_from, markdown, one_by_one
    from medseg.train.sweep import sweep as run_sweep

    words = [word for word in context.args if "=" in word and not word.startswith("-")]
    more = [word for word in context.args if word not in words]
    fits: Fits = one_by_one
    if address:
        from medseg.cohort.fits import on_ray

        out, data = out.absolute(), data.absolute()  # as every node sees them
        fits = on_ray(address, cores, gpus)
    rows = run_sweep(network, data, out, grid_from([*grid, *words]), more, fits)
    typer.echo(dumps(rows) if json else markdown(rows), nl=json)
