"""`medseg train`: fit a network to a folder of its task's files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli.options import (
    SIZE_HELP,
    ActivationOption,
    ClassesOption,
    DescribeOption,
    EncoderOption,
    NormalisationOption,
)

if TYPE_CHECKING:
    from medseg.task import Choices, Network


def train(  # every option of the command is an argument here
    network: Annotated[
        str, typer.Argument(help="The network, such as luna-segment (`medseg info` lists them); or picture: your own.")
    ],
    data: Annotated[Path, typer.Argument(help="A folder in the task's native layout.")],
    out: Annotated[Path, typer.Option(help="The run folder.")],
    epochs: Annotated[int | None, typer.Option(help="How often the data is gone through.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples per step and device.")] = None,
    lr: Annotated[float | None, typer.Option(help="The learning rate at the start.")] = None,
    loss: Annotated[
        str | None,
        typer.Option(help="bce, bce-sampled, bce-tversky, cross-entropy, dice, focal-tversky, iou or luna-dice."),
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="adam, adamw, sgd or adabelief.")] = None,
    momentum: Annotated[float | None, typer.Option(help="The momentum of sgd.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="The weight decay.")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, cosine or linear.")] = None,
    precision: Annotated[str | None, typer.Option(help="32-true, 16-mixed or bf16-mixed.")] = None,
    seed: Annotated[int | None, typer.Option(help="Fixes weights, order and augmentation.")] = None,
    arch: Annotated[str | None, typer.Option(help="The architecture, where the network has several.")] = None,
    features: Annotated[int | None, typer.Option(help="The width of the first level.")] = None,
    encoder_weights: Annotated[str, typer.Option(help="A local file of pretrained encoder weights, or none.")] = "none",
    start: Annotated[Path | None, typer.Option("--from", help="A run whose weights the fit starts from.")] = None,
    trainable: Annotated[str, typer.Option(help="What learns: all, last-block (and head) or head.")] = "all",
    size: Annotated[
        str | None, typer.Option(help=f"Fit at this height and width, a multiple of 32; the run resizes. {SIZE_HELP}")
    ] = None,
    encoder: EncoderOption = None,
    classes: ClassesOption = None,
    activation: ActivationOption = None,
    normalisation: NormalisationOption = None,
    describe: DescribeOption = None,
    fold: Annotated[int, typer.Option(help="Which part of the patients validates, where the split has folds.")] = 0,
    samples_per_epoch: Annotated[
        int | None, typer.Option(help="Samples per epoch; as many as there are if not given.")
    ] = None,
    devices: Annotated[int, typer.Option(help="How many GPUs, or processes on a CPU.")] = 1,
    accumulate: Annotated[int, typer.Option(help="Batches per optimizer step.")] = 1,
    patience: Annotated[int | None, typer.Option(help="Stop after so many epochs without a better score.")] = None,
    keep: Annotated[
        str, typer.Option(help="Whose weights the run keeps: the best epoch's, or the last one's.")
    ] = "best",
    workers: Annotated[int | None, typer.Option(help="Loader processes.")] = None,
    loader: Annotated[
        str, typer.Option(help="torch, dali (for networks of pictures), or auto: what feeds faster here.")
    ] = "auto",
    wandb: Annotated[str | None, typer.Option(help="Also log to Weights & Biases: offline or online.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last whole epoch.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fit a network. What is not given is the network's recipe.

    Example: medseg train luna-segment data/luna --out runs/segment --epochs 10
    Example: medseg train picture data/cells --arch unet --encoder resnet34 --classes cell,fibre --out runs/cells
    """
    from json import dumps

    from medseg.api.loaders import fed
    from medseg.export.graph import save_program
    from medseg.run import Run
    from medseg.task import Choices
    from medseg.train.begin import beginning
    from medseg.train.data import DataModule
    from medseg.train.fit import fit, starting_module
    from medseg.train.settings import Settings, keep_for, leads, recipe_with, resumed_run, size_for, start_run

    choices = Choices(arch, encoder, classes, activation, size, normalisation, describe=describe)
    chosen, options = _chosen(network, data, choices, features)
    numbers = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "loss": loss,
        "optimizer": optimizer,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "precision": precision,
        "seed": seed,
    }
    settings = Settings(
        recipe=recipe_with(chosen, numbers),
        size=None if chosen.described_by else size_for(chosen, size),
        fold=fold,
        samples_per_epoch=samples_per_epoch,
        devices=devices,
        accumulate=accumulate,
        patience=patience,
        keep=keep_for(keep, patience),
        workers=workers,
        wandb=wandb,
        encoder_weights=None if encoder_weights == "none" else encoder_weights,
        start=str(start) if start else None,
        trainable=trainable,
    )
    module = starting_module(chosen, options, settings)
    with beginning(out, resume):
        samples = DataModule(chosen, data, settings)
        settings = fed(samples, loader, Run(out) if resume or not leads() else None)
        run = (resumed_run if resume else start_run)(chosen, data, out, options, settings)
        fit(run, samples, settings, module)
        save_program(run, chosen)
    result = run.manifest["result"]
    typer.echo(dumps(result) if json else f"{run.path}: {result['best_by']} {result[result['best_by']]:.4f}")


def _chosen(name: str, data: Path, choices: Choices, features: int | None) -> tuple[Network, dict[str, Any]]:
    """The network that will be fitted and the options that it is built with: a task's own, or as the choices say."""
    from dataclasses import replace

    from medseg.cli.options import refuse_chosen
    from medseg.tasks import brought_along, network_named
    from medseg.train.weights import build_options

    task = brought_along(name)
    if task and task.bringing and task.described:
        refuse_chosen(name, {"features": features})
        text = task.bringing.begun(data, choices)
        return task.described([text]).network(name), {}
    refuse_chosen(name, vars(replace(choices, arch=None, size=None)))
    network = network_named(name)
    return network, build_options(network, {"arch": choices.arch, "features": features})
