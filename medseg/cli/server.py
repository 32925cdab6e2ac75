"""`medseg server install`: the Triton server that `medseg serve` and `medseg bench` start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.options import JsonOption

server = typer.Typer(no_args_is_help=True, help="Bring the Triton server.", rich_markup_mode=None)


@server.callback()
def _() -> None:
    """Bring the Triton server, which no extra holds."""


@server.command("install")
def install(
    wheel: Annotated[
        Path | None, typer.Option(help="The wheel's file, where no index is reached.  [default: from the index]")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Bring the Triton server into this environment, or into the user's folder where that is not one of its own.

    One wheel of a known sha256, fetched as pip or uv fetch here; of what is in it only the server is kept.

    Example: medseg server install
    """
    from json import dumps

    from medseg.triton_models.install import SERVER
    from medseg.triton_models.install import install as brought

    where = brought(wheel)
    typer.echo(dumps({"version": SERVER, "folder": str(where)}) if json else f"Triton server {SERVER}: {where}")
