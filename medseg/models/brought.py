"""Loading of an imported checkpoint into a network of smp; everything left out or chosen is reported."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from medseg.errors import InputError
from medseg.models.checkpoint import UnfitError, load_state, read_weights, without
from medseg.models.looks import said, shapes_of
from medseg.models.weight_sets import State

UNUSED = ("classification_head.",)
_SHOWN = 5  # keys in a message


def weights_for(
    module: nn.Module, file: Path, which: str | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """The weights in a file by the network's names, and for the manifest what was chosen and left out.

    Raises InputError with what the file looks like and the first keys that do not fit.
    """
    expected, held = module.state_dict(), dict[str, torch.Tensor]()
    try:
        found = read_weights(file, expected, which)
        held, left_out = without(found.state, UNUSED)
        load_state(module, held, file)
    except UnfitError as error:
        raise InputError(f"checkpoint {file} does not fit: {_unfit(expected, held, file)}") from error
    return module.state_dict(), found.told(left_out)


def _unfit(expected: State, held: State, file: Path) -> str:
    """What a file looks like, and the first keys that do not fit."""
    shapes = shapes_of(file)
    wrong = [
        *(
            f"{key} {tuple(held[key].shape)}"
            for key in expected
            if key in held and held[key].shape != expected[key].shape
        ),
        *(f"{key} missing" for key in expected if key not in held and not key.endswith("num_batches_tracked")),
        *(f"{key} unknown" for key in (held or shapes) if key not in expected),
    ]
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    shown = ", ".join(key[:120] for key in wrong[:_SHOWN])
    return f"{said(shapes)}; these keys do not fit: {shown}{more}: choose --arch and --encoder as the file has them"
