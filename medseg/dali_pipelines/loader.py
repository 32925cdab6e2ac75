"""A training loader fed by DALI: what Lightning iterates over in place of torch's DataLoader."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from nvidia.dali.plugin.base_iterator import LastBatchPolicy
from nvidia.dali.plugin.pytorch import DALIGenericIterator

from medseg.dali_pipelines.augment import RESULTS, training_pipeline
from medseg.dali_pipelines.bend import bent
from medseg.dali_pipelines.changes import CHANGES, Changes, draw, pixel_matrix
from medseg.data.samples import Samples
from medseg.task import Array

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # images, masks, each sample's patient by number
Fed = tuple[Array, ...]  # one sample's FEEDS


class Order(Protocol):
    """One process's share of an epoch: indices of samples, as medseg.train.sampling.EpochSampler gives them."""

    epoch: int
    rank: int
    ranks: int

    def __iter__(self) -> Iterator[int]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Fit:
    """What a loader must know of the fit that it feeds."""

    task: str
    size: tuple[int, int]
    batch_size: int
    seed: int
    device_id: int | None = None  # a GPU's number, None for the CPU
    threads: int = 2


class DaliLoader:
    """Batches of augmented samples; seed and epoch fix order and changes. `sampler` is what Lightning looks for."""

    def __init__(self, samples: Samples, sampler: Order, fit: Fit, how: Changes | None = None) -> None:
        self.samples, self.sampler, self.fit = samples, sampler, fit
        self.how = CHANGES[fit.task] if how is None else how
        self.numbers = {patient: number for number, patient in enumerate(sorted(set(samples.patients)))}

    def __len__(self) -> int:
        return math.ceil(len(self.sampler) / self.fit.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """One epoch: every index of the sampler once, the last batch smaller where they do not divide."""
        fit = self.fit
        settings = {"batch_size": fit.batch_size, "num_threads": fit.threads, "device_id": fit.device_id}
        with ThreadPoolExecutor(fit.threads) as readers:
            feed = _feed(self._batches(readers))
            pipeline = training_pipeline(fit.task, fit.size, self.how, feed, settings)
            batches = DALIGenericIterator([pipeline], list(RESULTS), last_batch_policy=LastBatchPolicy.PARTIAL)
            for (batch,) in batches:
                images, masks = bent(batch["images"], batch["masks"], batch["waves"])
                yield images, masks, batch["numbers"].reshape(-1)

    def _batches(self, readers: ThreadPoolExecutor) -> Iterator[list[Fed]]:
        order = list(enumerate(self.sampler))
        for first in range(0, len(order), self.fit.batch_size):
            yield list(readers.map(self._sample, order[first : first + self.fit.batch_size]))

    def _sample(self, at: tuple[int, int]) -> Fed:
        """FEEDS of the sample at a place of this process's share."""
        place, index = at
        picture, mask = self._read(index)
        drawn = draw(self.how, self.fit.seed, self.sampler.epoch, place * self.sampler.ranks + self.sampler.rank)
        matrix = pixel_matrix(drawn.linear, (mask.shape[0], mask.shape[1]), self.fit.size)
        number = np.array(self.numbers[self.samples.patients[index]], np.int64)
        return picture, mask, matrix, drawn.holes.ravel(), drawn.wave, number

    def _read(self, index: int) -> tuple[Array, Array]:
        """The file (bytes,) uint8, or the prepared picture (h, w, c) float32; and its mask (h, w, classes) uint8."""
        if self.samples.encoded:
            content, mask = self.samples.encoded(index)
            return np.frombuffer(content, np.uint8), np.ascontiguousarray(mask.transpose(1, 2, 0))
        image, mask = self.samples[index]
        return np.ascontiguousarray(image.transpose(1, 2, 0)), np.ascontiguousarray(mask.transpose(1, 2, 0))


def _feed(batches: Iterator[list[Fed]]) -> Iterator[list[Any]]:
    """Batches of samples as DALI wants them: one list for each of FEEDS."""
    for batch in batches:
        yield [list(column) for column in zip(*batch, strict=True)]
