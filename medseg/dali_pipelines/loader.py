"""A training loader fed by DALI: what Lightning iterates over in place of torch's DataLoader."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from nvidia.dali.plugin.base_iterator import LastBatchPolicy
from nvidia.dali.plugin.pytorch import DALIGenericIterator

from medseg.dali_pipelines.augment import RESULTS, training_pipeline
from medseg.dali_pipelines.in_torch import change
from medseg.dali_pipelines.random_changes import Drawn, draw, pixel_matrix
from medseg.data.augmentation import Augmentation
from medseg.data.samples import Samples, batches_of
from medseg.task import Array, Decode

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # images, masks, each sample's patient by number


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

    size: tuple[int, int]
    batch_size: int
    seed: int
    how: Augmentation
    decode: Decode | None = None  # how encoded samples become the network's input; None of samples that are prepared
    device_id: int | None = None  # a GPU's number, None for the CPU
    threads: int = 2


class _Feeds:
    """What a pipeline is fed with: the feed that is the next one when the first batch of an epoch is wanted.

    Not sooner: DALI asks for the next epoch's iterator when an epoch has ended.
    """

    next: Iterator[tuple[list[Array], ...]] = iter(())

    def __iter__(self) -> Iterator[tuple[list[Array], ...]]:
        yield from self.next


class DaliLoader:
    """Batches of augmented samples; seed and epoch fix order and changes. `sampler` is what Lightning looks for."""

    def __init__(self, samples: Samples, sampler: Order, fit: Fit) -> None:
        self.samples, self.sampler, self.fit = samples, sampler, fit
        self.numbers = {patient: number for number, patient in enumerate(sorted(set(samples.patients)))}
        self._feeds = _Feeds()
        self._built: DALIGenericIterator | None = None  # between epochs; building takes seconds on a GPU

    def __len__(self) -> int:
        return len(self._sizes())

    def _sizes(self) -> list[int]:
        """How many samples each batch of an epoch has."""
        return [len(batch) for batch in batches_of(range(len(self.sampler)), self.fit.batch_size)]

    def __iter__(self) -> Iterator[Batch]:
        """One epoch: every index of the sampler once, the last batch smaller where they do not divide."""
        with ThreadPoolExecutor(self.fit.threads) as readers:
            fed: deque[list[Drawn]] = deque()  # of the batches that DALI works on
            self._feeds.next = self._feed(readers, fed)
            batches = self._begun()
            for (batch,) in batches:
                images, masks, drawn = batch["images"], batch["masks"], fed.popleft()
                change(images, masks, drawn)
                numbers = torch.tensor([self.numbers[self.samples.patients[one.index]] for one in drawn])
                yield self._shown(images), masks, numbers
        self._built = batches  # whole: of an epoch that was left or that failed, DALI may hold batches

    def _begun(self) -> DALIGenericIterator:
        """DALI's own iterator at the start of an epoch: that of the epoch before, where that was finished."""
        built, self._built = self._built, None
        if built is not None:
            built.reset()
            return built
        fit = self.fit
        settings = {"batch_size": max(self._sizes()), "num_threads": fit.threads, "device_id": fit.device_id}
        pipeline = training_pipeline(fit.decode, fit.size, fit.how.moving, self._feeds, settings)
        return DALIGenericIterator([pipeline], list(RESULTS), last_batch_policy=LastBatchPolicy.PARTIAL)

    def _shown(self, images: torch.Tensor) -> torch.Tensor:
        """A grey picture in each of the network's channels."""
        return images.expand(-1, self.fit.decode.channels, -1, -1) if self.fit.decode else images

    def _feed(self, readers: ThreadPoolExecutor, fed: deque[list[Drawn]]) -> Iterator[tuple[list[Array], ...]]:
        """Batches as the pipeline wants them: pictures, masks and, where they move, matrices."""
        first = 0
        for batch in batches_of(list(self.sampler), self.fit.batch_size):
            drawn = [self._draw(place, index) for place, index in enumerate(batch, first)]
            first += len(batch)
            fed.append(drawn)
            pictures, masks = zip(*readers.map(self._read, batch), strict=True)
            pairs = zip(drawn, masks, strict=True)
            matrices = [pixel_matrix(one.linear, mask.shape[:2], self.fit.size) for one, mask in pairs]
            yield (list(pictures), list(masks), matrices)[: 3 if self.fit.how.moving else 2]

    def _draw(self, place: int, index: int) -> Drawn:
        """The changes of the sample at a place of this process's share of the epoch."""
        overall = place * self.sampler.ranks + self.sampler.rank
        return draw(self.fit.how, index, (self.fit.seed, self.sampler.epoch, overall))

    def _read(self, index: int) -> tuple[Array, Array]:
        """The file (bytes,) uint8, or the prepared picture (h, w, c) float32; and its mask (h, w, classes) uint8."""
        if self.fit.decode and self.samples.encoded:
            content, mask = self.samples.encoded(index)
            return np.frombuffer(content, np.uint8), np.ascontiguousarray(mask.transpose(1, 2, 0))
        image, mask = self.samples[index]
        return np.ascontiguousarray(image.transpose(1, 2, 0)), np.ascontiguousarray(mask.transpose(1, 2, 0))
