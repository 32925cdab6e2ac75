"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TaskArgument = Annotated[str, typer.Argument(help="The task; `medseg info` lists them.")]
RunsOption = Annotated[
    list[Path] | None, typer.Option("--run", help="A run; give one for each of the task's networks.")
]
NoVerifyOption = Annotated[
    bool, typer.Option("--no-verify", help="Open the runs' files without a look at their recorded sha256.")
]
