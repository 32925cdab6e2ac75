"""Checkpoints made for tests: a small network's weights, saved in every way, and what a refused one is told."""

from pathlib import Path

import pytest
import torch
from torch import nn

from medseg.errors import InputError
from medseg.models.checkpoint import load_state, read_weights


def small() -> nn.Module:
    """Names as real networks have them: parts in parts, a norm, numbers."""
    torch.manual_seed(0)
    unet = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    return nn.ModuleDict({"input_norm": nn.BatchNorm2d(1), "unet": unet, "last": nn.Conv2d(2, 1, 1)})


STATE = small().state_dict()
AVERAGE = {key: value + 1 for key, value in STATE.items()}


def under(prefix: str, state: dict[str, torch.Tensor] = STATE) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in state.items()}


def saved(folder: Path, content: object, **options: bool) -> Path:
    torch.save(content, folder / "w.pt", **options)
    return folder / "w.pt"


def refused(file: Path, which: str | None = None) -> str:
    """The sentence that a file is refused with, by reading or by loading it."""
    with pytest.raises(InputError) as caught:
        load_state(small(), read_weights(file, STATE, which).state, file)
    words = str(caught.value)
    assert str(file) in words and len(words) < 600 and "\n" not in words
    return words


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor] = STATE) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
