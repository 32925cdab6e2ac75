"""Settings: all choices for a fit, as they are recorded in the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from medseg.description import DESCRIPTION
from medseg.errors import InputError, RunError, unknown
from medseg.run import Run, describe
from medseg.task import Network, Recipe
from medseg.tasks import description_of, training_of

PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
FREE = ("epochs", "devices", "nodes", "workers", "wandb")  # may differ when a run is resumed
TRAINABLE = ("all", "last-block", "head")
KEPT = ("best", "last")  # epochs


@dataclass(frozen=True)
class Settings:
    """A fit's recipe, and how it is carried out here. The defaults are what most fits want."""

    recipe: Recipe
    size: int | None = None  # height and width the pictures are resized to; None keeps the network's own
    fold: int = 0
    samples_per_epoch: int | None = None  # None: as many as there are
    devices: int = 1  # of each node
    nodes: int = 1  # machines
    accumulate: int = 1  # batches per optimizer step
    patience: int | None = None  # epochs without a better score before the fit stops; None: never
    keep: str = "best"  # the epoch whose weights are kept; the last one is not chosen by its own scores
    workers: int | None = None  # loader processes; None: none on a CPU, which is busy with training; otherwise up to 8
    wandb: str | None = None  # "offline" or "online"
    encoder_weights: str | None = None  # a file's name
    start: str | None = None  # the run whose weights the fit starts from
    trainable: str = "all"
    loader: str = "torch"  # what makes the training batches: torch or dali; they augment by different random numbers

    @property
    def processes(self) -> int:
        """How many fit together, each with batches of its own."""
        return self.nodes * self.devices


def recipe_with(network: Network, chosen: Mapping[str, Any]) -> Recipe:
    """The network's recipe with the user's choices, Nones left out. Raises InputError for an invalid number.

    Mixed precision is for GPUs: without one, a recipe's mixed precision becomes 32-true; a user's choice is refused.
    """
    recipe = network.recipe if torch.cuda.is_available() else replace(network.recipe, precision="32-true")
    recipe = replace(recipe, **{name: value for name, value in chosen.items() if value is not None})
    for name in ("epochs", "batch_size", "lr"):
        if not getattr(recipe, name) > 0:
            flag = name.replace("_", "-")
            raise InputError(
                f"--{flag} is {getattr(recipe, name)}; expected a number above zero: choose another --{flag}"
            )
    if recipe.precision not in PRECISIONS:
        raise InputError(unknown("precision", recipe.precision, PRECISIONS))
    if recipe.precision == "16-mixed" and not torch.cuda.is_available():
        raise InputError("precision 16-mixed needs a GPU and none was found; expected 32-true or bf16-mixed on a CPU")
    return recipe


def keep_for(keep: str, patience: int | None) -> str:
    """Which epoch's weights the run keeps. Raises InputError for another word, or for last with a patience."""
    if keep not in KEPT:
        raise InputError(f"--keep is {keep!r}; expected one of {', '.join(KEPT)}")
    if keep == "last" and patience is not None:
        raise InputError(
            f"--keep last and --patience {patience}: patience ends a fit by its best score: leave one of them out"
        )
    return keep


def size_for(network: Network, words: str | int | None) -> int | None:
    """The height and width to fit at. Raises InputError for a network that is not resized or cannot take the size."""
    if words is None:
        return None
    if not str(words).isdecimal() or len(str(words)) > 5:
        raise InputError(f"--size is {words!r}; expected one number for height and width, such as 256")
    size = int(words)
    multiple = max(network.free_axes.values(), default=0)
    if not training_of(network, "train").resizable:
        raise InputError(f"--size is {size}; {network.name} takes images at their own spacing: leave --size out")
    if size < multiple or size % multiple:
        raise InputError(f"--size is {size}; expected a multiple of {multiple} for {network.name}: choose another one")
    return size


def recorded(settings: Settings) -> dict[str, Any]:
    """The settings for a manifest: the recipe, and what differs from the defaults."""
    plain = {field.name: field.default for field in fields(Settings)}
    others = {name: value for name, value in asdict(settings).items() if name != "recipe" and value != plain[name]}
    return {"recipe": asdict(settings.recipe), **others}


def start_run(network: Network, data: Path, out: Path, options: Mapping[str, Any], settings: Settings) -> Run:
    """A new run for this fit. Raises RunError where the folder already holds one."""
    source = {"kind": "train", "data": str(data), **recorded(settings)}
    run = Run.create(out, network.name, options, source)
    if network.described_by:
        describe(run, network.described_by)
    return run


def resumed_run(network: Network, data: Path, out: Path, options: Mapping[str, Any], settings: Settings) -> Run:
    """The run to continue. Raises RunError where it was started differently; only a few settings may change."""
    run = Run(out)
    if network.described_by and description_of(run) != network.described_by:
        raise RunError(
            f"run {out} was started with another description, see its {DESCRIPTION}: resume it as it was started"
        )
    asked = {"network": network.name, "data": str(data), **options, **_flat(recorded(settings))}
    held = {"network": run.network, **run.options, **_flat(run.manifest["source"])}
    for name in sorted(asked.keys() | held.keys() - {"kind", "split"}):
        if asked.get(name) != held.get(name) and name not in FREE:
            was, now = held.get(name), asked.get(name)
            raise RunError(
                f"run {out} was started with {name} {was}, not {now}: resume it with what it was started with"
            )
    return run


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key != "recipe"} | dict(settings.get("recipe", {}))
