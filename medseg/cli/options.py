"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from medseg.cli import words
from medseg.cli.words import each

TaskArgument = Annotated[
    str,
    typer.Argument(
        help="The task; `medseg info` lists them.", callback=each(words.known_task), autocompletion=words.tasks
    ),
]
NetworkArgument = Annotated[
    str,
    typer.Argument(
        help="The network, such as luna-segment (`medseg info` lists them); or picture: your own.",
        callback=each(words.known_network),
        autocompletion=words.networks,
    ),
]
DataArgument = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="A folder in the task's native layout.", callback=each(words.there)),
]
RunArguments = Annotated[
    list[Path],
    typer.Argument(metavar="RUN...", help="Run folders.", callback=each(words.known_run), autocompletion=words.runs),
]
RunsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="A run; give one for each of the task's networks.",
        callback=each(words.known_run),
        autocompletion=words.runs,
    ),
]
EngineOption = Annotated[
    str,
    typer.Option(help="The engine for --run.", callback=each(words.known_engine), autocompletion=words.engines),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        help="The precision: fp32, fp16, bf16 or int8.",
        callback=each(words.known_precision),
        autocompletion=words.precisions,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON on stdout; everything else goes to stderr.")
]
NoVerifyOption = Annotated[
    bool, typer.Option("--no-verify", help="Open the runs' files without comparing them with their recorded sha256.")
]


@dataclass(frozen=True)
class OwnNetwork:
    """The description of a user's own network."""

    encoder: Annotated[
        str | None, typer.Option(help="For your own network: smp's encoder, or tu- and the name of a timm model.")
    ] = None
    classes: Annotated[
        str | None, typer.Option(help="For your own network: the classes' names, such as cell,fibre.")
    ] = None
    activation: Annotated[
        str | None,
        typer.Option(
            help="For your own network: softmax (one class per pixel) or sigmoid (each class decided independently)."
        ),
    ] = None
    normalisation: Annotated[
        str | None,
        typer.Option(
            help="For your own network: unit, imagenet, picture-range, picture-maximum, picture-z-score, "
            "channel-z-score, or the values that become 0 and 1, such as 0,4095."
        ),
    ] = None
    describe: Annotated[
        Path | None, typer.Option(help="For your own network: its whole description, a segmentation.json.")
    ] = None


SIZE_HELP = (
    "For your own network: the size to which pictures are resized, such as 256, 256x320 (height, width) or "
    "fit:256x320, which keeps the aspect ratio; keep does not resize."
)
