"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class OwnNetwork:
    """What is said of a network of one's own."""

    encoder: Annotated[
        str | None, typer.Option(help="Of your own network: smp's encoder, or tu- and a timm model.")
    ] = None
    classes: Annotated[
        str | None, typer.Option(help="Of your own network: the classes' names, such as cell,fibre.")
    ] = None
    activation: Annotated[
        str | None,
        typer.Option(help="Of your own network: softmax, one class a pixel, or sigmoid, each class for itself."),
    ] = None
    normalisation: Annotated[
        str | None,
        typer.Option(
            help="Of your own network: unit, imagenet, picture-range, picture-maximum, picture-z-score, "
            "channel-z-score, or the values that become 0 and 1, such as 0,4095."
        ),
    ] = None
    describe: Annotated[
        Path | None, typer.Option(help="Of your own network: its whole description, a segmentation.json.")
    ] = None


SIZE_HELP = (
    "Of your own network: what pictures are resized to, such as 256, 256x320 (height, width) or fit:256x320, "
    "which keeps their shape; keep leaves them as they are."
)
