"""Which samples an epoch shows, in which order: fixed by seed and epoch, so a resumed fit sees the same."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Sampler

from medseg.task import Array


class EpochSampler(Sampler[int]):
    """Indices for one process's share of an epoch: a shuffle, or draws with replacement where weights are given.

    An epoch has `count` of the `total` samples, or all; where it has more, the shuffle begins again. Lightning calls
    `set_epoch` before each epoch. `rank` of `ranks` processes get disjoint shares of equal length.
    """

    def __init__(
        self, total: int, weights: Array | None, seed: int, rank: int = 0, ranks: int = 1, count: int | None = None
    ) -> None:
        self.total, self.weights, self.seed = total, weights, seed
        self.count = count or total
        self.rank, self.ranks = rank, ranks
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.ranks

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        if self.weights is None:
            shuffles = math.ceil(self.count / self.total)
            order = np.concatenate([rng.permutation(self.total) for _ in range(shuffles)])[: self.count]
        else:
            order = rng.choice(self.total, self.count, p=self.weights / self.weights.sum())
        yield from order[self.rank :: self.ranks][: len(self)].tolist()


def shares(rank: int, ranks: int, count: int) -> list[int]:
    """The validation samples of one process; every sample belongs to exactly one."""
    return torch.arange(count)[rank::ranks].tolist()
