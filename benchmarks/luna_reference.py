"""The LUNA chain as its authors run it, in PyTorch and SciPy: the reference for luna_end_to_end.py.

This is new code after the description in "Deep Learning with PyTorch", part 2: U-Net on single slices in batches of 4,
erosion and labelling by SciPy, crops in batches of 4 through the classifier. It has the same weights and torch's
default number of threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from scipy import ndimage
from torch.utils.data import DataLoader

from medseg.run import WEIGHTS, Run
from medseg.tasks import network_named

BATCH = 4

OnTensors = Callable[[torch.Tensor], torch.Tensor]  # a network, from batch to logits


class _Slices(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, hu: np.ndarray) -> None:
        self.hu = hu

    def __len__(self) -> int:
        return len(self.hu)

    def __getitem__(self, index: int) -> torch.Tensor:
        context = np.clip(np.arange(index - 3, index + 4), 0, len(self.hu) - 1)
        return torch.from_numpy(self.hu[context].copy())


class _Crops(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __init__(self, hu: np.ndarray, centres: np.ndarray) -> None:
        self.hu, self.centres = hu, centres

    def __len__(self) -> int:
        return len(self.centres)

    def __getitem__(self, index: int) -> torch.Tensor:
        start = np.clip(
            np.round(self.centres[index]).astype(int) - (16, 24, 24), 0, np.array(self.hu.shape) - (32, 48, 48)
        )
        i, r, c = start
        return torch.from_numpy(self.hu[i : i + 32, r : r + 48, c : c + 48].copy()).unsqueeze(0)


def network(run: Path) -> torch.nn.Module:
    """The run's network in evaluation mode."""
    opened = Run(run)
    module = network_named(opened.network).build(**opened.options)
    module.load_state_dict(torch.load(run / WEIGHTS, weights_only=True, map_location="cpu"))
    return module.eval()


def chain(ct: Path, unet: torch.nn.Module, cnn: torch.nn.Module) -> dict[str, Any]:
    """`candidates` of a CT's file; the seconds include reading it."""
    seconds: dict[str, float] = {}
    start = time.perf_counter()
    hu = sitk.GetArrayFromImage(sitk.ReadImage(str(ct)))
    _lap(seconds, "read", start)
    answer = candidates(hu, unet, cnn)
    return answer | {"seconds": seconds | answer["seconds"]}


@torch.no_grad()
def candidates(ct: np.ndarray, unet: OnTensors, cnn: OnTensors) -> dict[str, Any]:
    """Candidates (n, 4): index, row, col, nodule probability; their opened mask, bool; and seconds per stage."""
    seconds: dict[str, float] = {}
    start = time.perf_counter()
    hu = np.array(ct, dtype=np.float32).clip(-1000, 1000)
    mask = np.zeros(hu.shape, np.float32)
    at = 0
    for batch in DataLoader(_Slices(hu), batch_size=BATCH):
        probability = torch.sigmoid(unet(batch)).numpy()[:, 0]
        mask[at : at + len(batch)] = probability
        at += len(batch)
    start = _lap(seconds, "segment", start)
    found = mask > 0.5
    labels, count = ndimage.label(ndimage.binary_erosion(found, iterations=1))
    centres = np.array(ndimage.center_of_mass(hu + 1001, labels, np.arange(1, count + 1))).reshape(-1, 3)
    start = _lap(seconds, "group", start)
    scores = [torch.softmax(cnn(batch), 1)[:, 1].numpy() for batch in DataLoader(_Crops(hu, centres), batch_size=BATCH)]
    _lap(seconds, "classify", start)
    table = np.column_stack([centres, np.concatenate(scores)]) if scores else np.zeros((0, 4))
    return {"candidates": table, "mask": ndimage.binary_opening(found), "seconds": seconds}


def _lap(seconds: dict[str, float], stage: str, start: float) -> float:
    now = time.perf_counter()
    seconds[stage] = now - start
    return now
