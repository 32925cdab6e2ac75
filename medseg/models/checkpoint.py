"""Checkpoints: reading weights without running code from the file, and loading them with every mismatch reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg.errors import InputError
from medseg.models.pickled import content_of
from medseg.models.weight_sets import State, WeightSet, chosen, weight_sets

_SHOWN = 3  # keys in a message


class UnfitError(InputError):
    """Raised for weights that can be read but belong to another network."""


def read_weights(file: Path, expected: State, which: str | None = None) -> WeightSet:
    """The weights in a checkpoint for a network with the `expected` state, on the CPU; see `weight_sets`.

    Reads PyTorch files (tensors and plain values only: no code in the file is run) and safetensors. `which` chooses
    from several sets. Raises InputError where the file is missing, damaged, unsafe, not a checkpoint, or holds several
    sets that differ; UnfitError where it holds no weights of this network.
    """
    content = content_of(file)
    try:
        sets = weight_sets(content, expected)
        if sets:
            return chosen(sets, which)
    except InputError as error:
        raise InputError(f"checkpoint {file} {error}") from error
    held = f"it holds {_listed(list(map(str, content)))}" if isinstance(content, Mapping) and content else "it is empty"
    raise UnfitError(
        f"checkpoint {file} holds no weights of this network ({held}); expected tensors such as "
        f"{_listed(list(expected))}: check the network and the file"
    )


def built(build: Callable[..., nn.Module], options: Mapping[str, Any]) -> nn.Module:
    """The network with these options. Raises InputError where it cannot be built with them."""
    try:
        return build(**options)
    except InputError:
        raise
    except Exception as error:  # libraries raise many kinds, such as for an unknown encoder or a negative width
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        words = ", ".join(f"{name} {str(value)[:80]!r}" for name, value in options.items())
        raise InputError(f"the network cannot be built with {words} ({reason}): choose other options") from error


def load_file(module: nn.Module, file: Path, unused: tuple[str, ...] = ()) -> None:
    """Load the weights in a file into a module, without keys that begin with one of `unused`.

    Raises InputError as `read_weights` and `load_state` do.
    """
    state, _ = without(read_weights(file, module.state_dict()).state, unused)
    load_state(module, state, file)


def without(state: State, unused: tuple[str, ...]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The state without the keys that begin with one of `unused`, and those of `unused` that were found."""
    kept = {key: value for key, value in state.items() if not key.startswith(unused)}
    return kept, [start for start in unused if any(key.startswith(start) for key in state)]


def load_state(module: nn.Module, state: State, source: Path) -> None:
    """Load weights into a module.

    Raises UnfitError where keys are missing, unexpected or misshapen, and InputError where weights are not finite
    numbers. The message names the first such keys and how many there are.
    """
    expected = module.state_dict()
    problems = state_problems(expected, state)
    if problems:
        raise UnfitError(
            f"checkpoint {source} does not fit the network: {'; '.join(problems)}: check the network and its options"
        )
    broken = [key for key in expected if key in state and not _finite(state[key], expected[key].dtype)]
    if broken:
        raise InputError(
            f"checkpoint {source} has NaN or infinity in {len(broken)} of {len(state)} tensors ({_listed(broken)}); "
            "expected finite numbers, because such a network finds nothing: use an earlier checkpoint"
        )
    module.load_state_dict(dict(state), strict=False)


def state_problems(expected: State, found: State) -> list[str]:
    """What keeps the weights `found` from replacing `expected`, one entry per kind of problem; empty when they fit."""
    # Batch norms that were saved before PyTorch 0.4.1 lack this counter; inference does not read it.
    missing = [key for key in expected if key not in found and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in found if key not in expected]
    both = [key for key in expected if key in found]
    misshapen = [
        f"{key} {tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in both
        if found[key].shape != expected[key].shape
    ]
    odd = [f"{key} {kind}" for key in both if (kind := _oddity(expected[key], found[key]))]
    kinds = {"missing": missing, "unexpected": unexpected, "misshapen": misshapen, "of another kind": odd}
    return [f"{len(keys)} {kind} ({_listed(keys)})" for kind, keys in kinds.items() if keys]


def parameter_count(module: nn.Module) -> int:
    """The number of the module's learned parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def _oddity(expected: torch.Tensor, found: torch.Tensor) -> str:
    """Why a tensor cannot be loaded as weights, apart from its shape; "" where it can."""
    if found.is_meta and not expected.is_meta:
        return "has no values"
    if found.is_quantized or found.layout != torch.strided:
        return f"is {'quantized' if found.is_quantized else 'sparse'}"
    if expected.is_floating_point() and not found.is_floating_point():
        return f"has {str(found.dtype).removeprefix('torch.')}"
    return ""


def _finite(value: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether all numbers are finite after conversion to the network's own type."""
    return bool(torch.isfinite(value.to(dtype)).all()) if dtype.is_floating_point else True


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f"{', '.join(key[:120] for key in keys[:_SHOWN])}{more}"
