"""Weights into and out of a run: importing a published checkpoint, saving what a fit learnt."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg.errors import InputError
from medseg.files import sha256
from medseg.models.checkpoint import load_state, parameter_count, read_state, without
from medseg.run import WEIGHTS, Run
from medseg.task import Network


def import_weights(network: Network, checkpoint: Path, out: Path, options: Mapping[str, Any]) -> Run:
    """A new run with the weights of a published checkpoint; what the answer does not need is left out, and recorded.

    Raises InputError where the file cannot be read or does not fit the network, RunError where `out` holds a run.
    """
    options = build_options(network, options)
    module = network.build(**options)
    state, left_out = without(read_state(checkpoint), network.unused)
    load_state(module, network.keys(state) if network.keys else state, checkpoint)
    source: dict[str, Any] = {"kind": "import", "file": checkpoint.name, "sha256": sha256(checkpoint)}
    source |= {"left_out": left_out} if left_out else {}
    run = Run.create(out, network.name, options, source)
    save_weights(run, module)
    return run


def build_options(network: Network, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The network's build options with the user's choices but the Nones. Raises InputError for one it does not have."""
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


def load_run(network: Network, run: Run) -> nn.Module:
    """The run's network with its weights, in evaluation mode. Raises RunError where the run has none."""
    module: nn.Module = network.build(**run.options)
    load_state(module, without(read_state(run.path / WEIGHTS), network.unused)[0], run.path / WEIGHTS)
    return module.eval()
