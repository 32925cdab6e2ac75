"""A fit: a network, a data folder and the user's choices become a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medseg.api.loaders import fed
from medseg.bringing import NetworkOptions, refuse_chosen
from medseg.export.graph import save_program
from medseg.run import Run
from medseg.task import Network
from medseg.tasks import brought_along, network_named
from medseg.train.begin import beginning
from medseg.train.data import DataModule
from medseg.train.fit import fit, starting_module
from medseg.train.processes import joined
from medseg.train.settings import Settings, keep_for, recipe_with, resumed_run, size_for, start_run
from medseg.train.weights import build_options


@dataclass(frozen=True)
class TrainOptions:
    """The choices for a fit; the rest comes from the network's recipe and the usual settings.

    `recipe` holds fields of medseg.task.Recipe; `settings` those of medseg.train.settings.Settings, except the recipe
    and the size. `network` says how the network is built, and at which size.
    """

    recipe: Mapping[str, float | str | None] = field(default_factory=dict)
    settings: Mapping[str, int | str | None] = field(default_factory=dict)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    features: int | None = None  # the width of its first level


AS_THE_RECIPE = TrainOptions()


def train(
    network: str,
    data: Path | str,
    out: Path | str,
    chosen: TrainOptions = AS_THE_RECIPE,
    loader: str = "auto",
    resume: bool = False,
) -> Run:
    """The run, fitted to a data folder's patients without those that the split keeps for validation; with fp32.pt2.

    `resume` continues from the run's last complete epoch. Raises InputError for an invalid choice, RunError where the
    folder holds another run.

    >>> import medseg
    >>> chosen = medseg.TrainOptions({"epochs": 1, "batch_size": 4}, {"samples_per_epoch": 4}, features=2)
    >>> run = medseg.train("luna-nodule", "data", "runs/fitted", chosen)
    >>> run.manifest["result"]["best_by"]
    'val_f1'
    """
    folder, where = Path(data), Path(out)
    made, options = _network(network, folder, chosen)
    settings = _settings(made, chosen)
    module = starting_module(made, options, settings)
    with joined(settings) as joint, beginning(where, resume, joint):
        samples = DataModule(made, folder, settings)
        settings = fed(samples, loader, Run(where) if resume or not joint.leads else None)
        begun = resumed_run if resume else start_run
        run = begun(made, folder, where, options, settings) if joint.leads else Run(where)
        fit(run, samples, settings, module, joint)
        if joint.leads:
            save_program(run, made)
        joint.end()
    return run


def _settings(network: Network, chosen: TrainOptions) -> Settings:
    """The settings of the fit. Raises InputError for an invalid one."""
    more: dict[str, Any] = {name: value for name, value in chosen.settings.items() if value is not None}
    keep = keep_for(str(more.pop("keep", "best")), more.get("patience"))
    size = None if network.described_by else size_for(network, chosen.network.size)
    return Settings(recipe=recipe_with(network, chosen.recipe), size=size, keep=keep, **more)


def _network(name: str, data: Path, chosen: TrainOptions) -> tuple[Network, dict[str, Any]]:
    """The network that will be fitted, and the options with which it is built: a task's own, or as the choices say."""
    task = brought_along(name)
    if task and task.bringing and task.described:
        refuse_chosen(name, {"features": chosen.features})
        return task.described([task.bringing.begun(data, chosen.network)]).network(name), {}
    refuse_chosen(name, vars(replace(chosen.network, arch=None, size=None)))
    network = network_named(name)
    return network, build_options(network, {"arch": chosen.network.arch, "features": chosen.features})
