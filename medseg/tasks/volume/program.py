"""A network as the program that a run keeps: one torch.export trace with a free batch axis, weights inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from medseg.bringing import NetworkOptions
from medseg.errors import InputError

_TRACED = 2  # a batch of one would be taken for a constant


def save(module: torch.nn.Module, shape: Sequence[int], file: Path) -> None:
    """Trace a module with inputs (n, *shape) and write it. Raises InputError where it cannot be traced."""
    example = torch.zeros(_TRACED, *shape)
    try:
        with torch.inference_mode():
            program = torch.export.export(module.eval(), (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"the network cannot be traced ({reason}); expected one without branches on values") from error
    torch.export.save(program, file)


def refuse_others(choices: NetworkOptions, what: str, *taken: str) -> None:
    """Raise InputError for the first choice that was made and that this kind of model leaves no room for."""
    for name, value in vars(choices).items():
        if value is not None and name not in taken:
            raise InputError(f"--{name} belongs to other networks; {what} says that itself: leave it out")
