"""`medseg train`: fit a network to a folder of its task's files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.groups import grouped
from medseg.cli.options import SIZE_HELP, DataArgument, JsonOption, NetworkArgument, OwnNetwork
from medseg.cli.words import each, filled, known_run, runs


@dataclass(frozen=True)
class RecipeOptions:
    """Numbers that control the fit."""

    epochs: Annotated[int | None, typer.Option(help="The number of passes over the data.")] = None
    batch_size: Annotated[int | None, typer.Option(help="Samples per step and device.")] = None
    lr: Annotated[float | None, typer.Option(help="The learning rate at the start.")] = None
    loss: Annotated[
        str | None,
        typer.Option(help="bce, bce-sampled, bce-tversky, cross-entropy, dice, focal-tversky, iou or luna-dice."),
    ] = None
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw, sgd or adabelief.")] = None
    momentum: Annotated[float | None, typer.Option(help="The momentum of sgd.")] = None
    weight_decay: Annotated[float | None, typer.Option(help="The weight decay.")] = None
    schedule: Annotated[str | None, typer.Option(help="constant, cosine or linear.")] = None
    precision: Annotated[str | None, typer.Option(help="32-true, 16-mixed or bf16-mixed.")] = None
    seed: Annotated[int | None, typer.Option(help="The random seed of weights, order and augmentation.")] = None


@dataclass(frozen=True)
class NetworkOptions:
    """Which network is built."""

    arch: Annotated[str | None, typer.Option(help="The architecture, if the network has several.")] = None
    features: Annotated[int | None, typer.Option(help="The width of the first level.")] = None
    size: Annotated[
        str | None,
        typer.Option(
            help=f"Train at this height and width, a multiple of 32; the run then resizes pictures to it. {SIZE_HELP}"
        ),
    ] = None


@dataclass(frozen=True)
class StartOptions:
    """The weights that the fit starts from, and the layers that are trained."""

    encoder_weights: Annotated[str, typer.Option(help="A local file of pretrained encoder weights, or none.")] = "none"
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="RUN",
            help="A run whose weights the fit starts from.",
            callback=each(known_run),
            autocompletion=runs,
        ),
    ] = None
    trainable: Annotated[str, typer.Option(help="Which layers are trained: all, last-block (and head) or head.")] = (
        "all"
    )


@dataclass(frozen=True)
class CarriedOut:
    """How the fit is run on this machine."""

    fold: Annotated[int, typer.Option(help="Which fold is used for validation, if the split has folds.")] = 0
    samples_per_epoch: Annotated[int | None, typer.Option(help="Samples per epoch; all of them if not given.")] = None
    devices: Annotated[int, typer.Option(help="How many GPUs, or processes on a CPU, on each machine.")] = 1
    nodes: Annotated[int, typer.Option(help="How many machines; torchrun, srun or Ray starts the command on each.")] = 1
    accumulate: Annotated[int, typer.Option(help="Batches per optimizer step.")] = 1
    patience: Annotated[int | None, typer.Option(help="Stop after this many epochs without a better score.")] = None
    keep: Annotated[str, typer.Option(help="Which epoch's weights the run keeps: best or last.")] = "best"
    workers: Annotated[int | None, typer.Option(help="Loader processes.")] = None
    wandb: Annotated[str | None, typer.Option(help="Also log to Weights & Biases: offline or online.")] = None


@grouped
def train(
    network: NetworkArgument,
    data: DataArgument,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run folder.")],
    recipe: RecipeOptions,
    built: NetworkOptions,
    own: OwnNetwork,
    begun: StartOptions,
    carried_out: CarriedOut,
    loader: Annotated[
        str, typer.Option(help="torch, dali (only for pictures), or auto: the faster one on this machine.")
    ] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the run's last complete epoch.")] = False,
    json: JsonOption = False,
) -> None:
    """Train a network. Options that you leave out come from the network's recipe.

    Example: medseg train luna-segment data/luna --out runs/segment --epochs 10

    Example: medseg train picture data/cells --arch unet --encoder resnet34 --classes cell,fibre --out runs/cells
    """
    from json import dumps

    filled(network, data, "train")  # before torch is imported
    from medseg.api.train import TrainOptions
    from medseg.api.train import train as fitted
    from medseg.bringing import NetworkOptions
    from medseg.train.processes import is_first

    chosen = TrainOptions(
        recipe=asdict(recipe),
        settings=asdict(carried_out)
        | {
            "encoder_weights": None if begun.encoder_weights == "none" else begun.encoder_weights,
            "start": str(begun.start) if begun.start else None,
            "trainable": begun.trainable,
        },
        network=NetworkOptions(arch=built.arch, size=built.size, **asdict(own)),
        features=built.features,
    )
    run = fitted(network, data, out, chosen, loader, resume)
    if not is_first():
        return
    result = run.manifest["result"]
    typer.echo(dumps(result) if json else f"{run.path}: {result['best_by']} {result[result['best_by']]:.4f}")
