"""`medseg import`: a published checkpoint into a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli import words
from medseg.cli.groups import grouped
from medseg.cli.options import SIZE_HELP, JsonOption, OwnNetwork
from medseg.cli.said import doing, say
from medseg.cli.words import each

if TYPE_CHECKING:
    from medseg.bringing import NetworkOptions

_SHOWN = 3  # keys of a line


@dataclass(frozen=True)
class Checkpoint:
    """What is in the file."""

    arch: Annotated[str | None, typer.Option(help="The architecture, if the network has several.")] = None
    features: Annotated[int | None, typer.Option(help="The width of the first level, if it is not the default.")] = None
    weights: Annotated[
        str | None, typer.Option(help="Which set of weights, if the file has several: plain, ema, or the set's name.")
    ] = None
    size: Annotated[str | None, typer.Option(help=SIZE_HELP)] = None


@dataclass(frozen=True)
class Model:
    """Which of several in a model's folder."""

    configuration: Annotated[
        str | None, typer.Option(help="For nnU-Net: which configuration, if the folder or zip holds several.")
    ] = None
    folds: Annotated[str | None, typer.Option(help="For nnU-Net: which folds, such as 0,1.  [default: all]")] = None
    checkpoint_name: Annotated[
        str | None,
        typer.Option("--checkpoint", help="For nnU-Net: the file in each fold.  [default: checkpoint_final.pth]"),
    ] = None


@grouped
def import_(
    network: Annotated[
        str,
        typer.Argument(
            help="The network to which the checkpoint belongs, such as luna-segment; or picture (your "
            "own), nnunet or monai.",
            callback=each(words.known_network),
            autocompletion=words.networks,
        ),
    ],
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="The authors' file: .state, .pt, .pth or .safetensors; for your own network also .pt2 or .onnx.",
            callback=each(words.there),
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="The new run folder.")],
    held: Checkpoint,
    own: OwnNetwork,
    model: Model,
    json: JsonOption = False,
) -> None:
    """Import published weights, or a network of your own, into a run.

    Example: medseg import luna-segment seg.best.state --out runs/luna-segment

    Example: medseg import nnunet Dataset501_LGG/nnUNetTrainer__nnUNetPlans__3d_fullres --out runs/lgg

    Example: medseg import picture best.ckpt --arch unet --encoder resnet34 --classes cell,fibre --out runs/cells
    """
    from json import dumps

    from medseg.bringing import NetworkOptions
    from medseg.run import Run

    choices = NetworkOptions(
        arch=held.arch,
        size=held.size,
        weights=held.weights,
        configuration=model.configuration,
        folds=model.folds,
        checkpoint=model.checkpoint_name,
        **asdict(own),
    )
    for note in _imported(network, checkpoint, out, choices, held.features):
        say("note", note)
    run = Run(out)
    if json:
        typer.echo(dumps(run.manifest))
        return
    count = f", {run.manifest['parameters']:,} parameters" if "parameters" in run.manifest else ""
    typer.echo(f"{run.path}: {run.network}{count}, from {checkpoint.name}")
    for line in _said(run.manifest["source"]):
        typer.echo(line)


def _imported(
    network: str, checkpoint: Path, out: Path, choices: NetworkOptions, features: int | None
) -> Sequence[str]:
    """Make the run; return what was assumed, in words."""
    from medseg.bringing import (
        refuse_chosen,
    )  # not from medseg.api.train, which needs more packages than an import does
    from medseg.run import whole_run
    from medseg.tasks import brought_along, network_named

    with doing("loading torch"):
        from medseg.export.given import save_given
        from medseg.export.graph import save_program
        from medseg.train.weights import bring, import_weights
    with whole_run(out) as folder:
        if task := brought_along(network):
            refuse_chosen(network, {"features": features})
            with doing(f"reading {checkpoint.name}"):
                made, chosen, notes = bring(task, checkpoint, folder, choices)
            with doing("writing the network's program"):
                save_given(made, chosen)
            return notes
        refuse_chosen(network, vars(replace(choices, arch=None, weights=None)))
        options, known = {"arch": choices.arch, "features": features}, network_named(network)
        with doing(f"reading {checkpoint.name}"):
            run = import_weights(known, checkpoint, folder, options, choices.weights)
        with doing("writing the network's program"):
            save_program(run, known)
        return ()


def _said(source: dict[str, Any]) -> Iterator[str]:
    """What was done with the checkpoint's keys, one line for each change."""
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
        yield f"left out: {', '.join(beside[:_SHOWN])}{more}, which are not part of the network"
