"""Checkpoints: reading a file of weights without running code from it, and loading it with nothing left unsaid."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg.errors import InputError

State = Mapping[str, torch.Tensor]

# Where the seed projects and Lightning keep the weights inside a checkpoint; a bare state has tensors at the top.
WRAPPERS = ("model_state", "state_dict", "model_state_dict", "model")


def read_state(file: Path) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint by key, on the CPU, without DataParallel's `module.` prefix.

    Reads PyTorch files (tensors and plain values only: no code in the file is run) and safetensors.
    Raises InputError naming the file where it is missing, damaged, unsafe or holds no weights.
    """
    if not file.is_file():
        raise InputError(f"checkpoint {file} does not exist; expected a PyTorch or safetensors file: check the path")
    content = _read(file)
    inner = next((content[key] for key in WRAPPERS if key in content), content) if isinstance(content, Mapping) else {}
    state = {key: value for key, value in dict(inner).items() if isinstance(value, torch.Tensor)}
    if not state:
        raise InputError(
            f"checkpoint {file} holds no weights; expected tensors by name, bare or under {', '.join(WRAPPERS)}"
        )
    parallel = all(key.startswith("module.") for key in state)
    return {key.removeprefix("module.") if parallel else key: value for key, value in state.items()}


def _read(file: Path) -> Any:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"checkpoint {file} is damaged or holds more than tensors and plain values, which could run code; "
            "expected a file of weights alone: save its state_dict again where you trust it"
        ) from error
    except Exception as error:  # torch and safetensors raise what they happen to trip over in a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"checkpoint {file} cannot be read ({reason}); expected a PyTorch file: fetch it again"
        ) from error


def without(state: State, unused: tuple[str, ...]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The state without the keys that begin with one of `unused`, and which of these there were."""
    kept = {key: value for key, value in state.items() if not key.startswith(unused)}
    return kept, [start for start in unused if any(key.startswith(start) for key in state)]


def load_state(module: nn.Module, state: State, source: Path) -> None:
    """Load weights into a module. Raises InputError that lists every key that is missing, unexpected or misshapen."""
    problems = state_problems(module.state_dict(), state)
    if problems:
        raise InputError(
            f"checkpoint {source} does not fit the network: {'; '.join(problems)}: check the network and its options"
        )
    module.load_state_dict(dict(state), strict=False)


def state_problems(expected: State, found: State) -> list[str]:
    """What keeps the weights `found` from replacing `expected`, one entry per kind of problem; empty when they fit."""
    # Batch norms saved before PyTorch 0.4.1 have no such counter, and nothing in inference reads it.
    missing = [key for key in expected if key not in found and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in found if key not in expected]
    misshapen = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in found and found[key].shape != expected[key].shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen}
    return [f"{len(keys)} {kind} ({', '.join(keys)})" for kind, keys in kinds.items() if keys]


def parameter_count(module: nn.Module) -> int:
    """How many numbers the module learns."""
    return sum(parameter.numel() for parameter in module.parameters())
