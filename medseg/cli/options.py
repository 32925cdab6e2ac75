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

EncoderOption = Annotated[str | None, typer.Option(help="Of your own network: smp's encoder, or tu- and a timm model.")]
ClassesOption = Annotated[str | None, typer.Option(help="Of your own network: the classes' names, such as cell,fibre.")]
ActivationOption = Annotated[
    str | None,
    typer.Option(help="Of your own network: softmax, one class a pixel, or sigmoid, each class for itself."),
]
NormalisationOption = Annotated[
    str | None,
    typer.Option(
        help="Of your own network: unit, imagenet, picture-range, picture-maximum, picture-z-score, channel-z-score, "
        "or the values that become 0 and 1, such as 0,4095."
    ),
]
DescribeOption = Annotated[
    Path | None, typer.Option(help="Of your own network: its whole description, a segmentation.json.")
]
SIZE_HELP = (
    "Of your own network: what pictures are resized to, such as 256, 256x320 (height, width) or fit:256x320, "
    "which keeps their shape; keep leaves them as they are."
)
