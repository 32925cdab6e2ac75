"""PyTorch on a saved torch.export program (.pt2): the reference for every other file."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from medseg.task import Array


class TorchEngine:
    """A torch.export program on the GPU where there is one, else on the CPU."""

    def __init__(self, file: Path, threads: int, streams: int) -> None:
        torch.set_num_threads(max(1, threads // streams))
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.backends.cudnn.allow_tf32 = False  # by default fp32 convolutions keep 10 bits of mantissa on a GPU
        logging.getLogger("torch.export").setLevel(logging.ERROR)  # for a damaged file it would also print a traceback
        self._module = torch.export.load(file).module().to(self._device)

    def __call__(self, batch: Array) -> Array:
        with torch.inference_mode():
            return self._module(torch.from_numpy(batch).to(self._device)).float().cpu().numpy()

    def close(self) -> None:
        del self._module
