"""Weights into and out of a run: importing a published checkpoint, saving the weights of a fit."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg.bringing import NetworkOptions
from medseg.errors import InputError
from medseg.files import sha256
from medseg.models.checkpoint import UnfitError, built, load_state, parameter_count, read_weights, without
from medseg.run import WEIGHTS, Run, describe
from medseg.task import Network, Task
from medseg.train.fitting import fitting_network


def import_weights(
    network: Network, checkpoint: Path, out: Path, options: Mapping[str, Any], which: str | None = None
) -> Run:
    """A new run with the weights of a published checkpoint; what of them was chosen and left out is recorded.

    `which` is one of several sets of weights. Raises InputError where the file cannot be read or does not fit the
    network, RunError where `out` holds a run.
    """
    options = build_options(network, options)
    module = built(network.build, options)
    try:
        source = _loaded(network, module, checkpoint, which)
    except UnfitError as error:
        fitting = fitting_network(network, options, checkpoint)
        raise InputError(f"{error}; {fitting}" if fitting else str(error)) from error
    run = Run.create(out, network.name, options, source)
    save_weights(run, module)
    return run


def bring(task: Task, path: Path, out: Path, choices: NetworkOptions) -> tuple[Run, Network, Sequence[str]]:
    """A new run with a user's network and its description, and a note for each assumption.

    Raises InputError for a task that has networks of its own alone, and as its `imported` does; RunError where `out`
    holds a run.
    """
    assert task.bringing and task.described, "see medseg.tasks.brought_along"
    brought = task.bringing.imported(path, choices)
    network = task.described([brought.description]).networks[-1]
    run = Run.create(out, network.name, {}, brought.source)
    describe(run, brought.description)
    if brought.program:
        with run.adding(f"given{brought.program.suffix.lower()}", {"command": "as it was brought along"}) as file:
            shutil.copyfile(brought.program, file)
    else:
        module = built(network.build, {})
        module.load_state_dict(dict(brought.state))
        save_weights(run, module)
    return run, network, brought.notes


def _loaded(network: Network, module: nn.Module, checkpoint: Path, which: str | None) -> dict[str, Any]:
    """Load a checkpoint into the module; what the manifest says of where the weights come from."""
    found = read_weights(checkpoint, module.state_dict(), which)
    state, left_out = without(found.state, network.unused)
    load_state(module, network.keys(state) if network.keys else state, checkpoint)
    source = {"kind": "import", "file": checkpoint.name, "sha256": sha256(checkpoint)}
    return source | found.told(left_out)


def build_options(network: Network, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The network's build options with the user's choices, without Nones. Raises InputError for an unknown one."""
    chosen = {name: value for name, value in chosen.items() if value is not None}
    for name in chosen.keys() - network.options.keys():
        known = ", ".join(f"--{option.replace('_', '-')}" for option in network.options) or "none"
        raise InputError(
            f"network {network.name!r} has no option --{name.replace('_', '-')}; it has {known}: leave it out"
        )
    return {**network.options, **chosen}


def save_weights(run: Run, module: nn.Module, name: str = WEIGHTS) -> None:
    """Write the module's weights and its parameter count to the run."""
    content = BytesIO()  # torch can end the whole process where a disk is full
    torch.save({key: value.detach().cpu() for key, value in module.state_dict().items()}, content)
    with run.adding(name, {"precision": "fp32", "suffix": ".pt"}) as path:
        path.write_bytes(content.getbuffer())
    run.record(parameters=parameter_count(module))
