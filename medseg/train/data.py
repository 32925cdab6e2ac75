"""The data module: a task's samples, split by patient, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from medseg.data.samples import Samples, batches_of
from medseg.data.split import Split
from medseg.errors import InputError
from medseg.models.sized import shrunk
from medseg.task import Network
from medseg.tasks import task_with, training_of
from medseg.train.sampling import EpochSampler, shares
from medseg.train.settings import Settings

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # images, masks or classes, each sample's patient by number
Feed = Callable[[Samples, EpochSampler, Settings], Iterable[Batch]]  # training batches that are already augmented


def samples_of(network: Network, directory: Path, patients: Sequence[str]) -> Samples:
    """The network's samples of these patients. Raises InputError where there are none."""
    samples: Samples = training_of(network, "train").samples(directory, patients)
    if not len(samples):
        raise InputError(
            f"{directory} has no samples for {network.name} of its {len(patients)} patients: check the folder"
        )
    return samples


class Tensors(Dataset[Batch]):
    """Samples as tensors, resized where a size is given, each with its patient's number."""

    def __init__(self, samples: Samples, size: int | None = None) -> None:
        self.samples, self.size = samples, size
        self.numbers = {patient: number for number, patient in enumerate(sorted(set(samples.patients)))}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Batch:
        image, target = self.samples[index]
        pair = torch.from_numpy(image.copy()), torch.as_tensor(target)
        if self.size is not None:
            pair = resized(*pair, self.size)
        return *pair, torch.tensor(self.numbers[self.samples.patients[index]])


def resized(image: torch.Tensor, target: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An image (c, h, w) and its mask (classes, h, w) as squares of this size, as a sized network shrinks them."""
    image = shrunk(image[None], size, min(image.shape[1:]))[0]
    return image, F.interpolate(target[None], (size, size), mode="nearest-exact")[0]


class DataModule(pl.LightningDataModule):
    """A network's training and validation batches, of the task's own split or a given one.

    `feed` makes the training batches in place of torch's loader.
    """

    def __init__(
        self,
        network: Network,
        directory: Path,
        settings: Settings,
        feed: Feed | None = None,
        split: Split | None = None,
    ) -> None:
        super().__init__()
        self.network, self.settings, self.feed = network, settings, feed
        layout = task_with(network).known_data("train")
        self.split: Split = split or layout.split(directory, settings.recipe.seed, settings.fold)
        self.training = samples_of(network, directory, self.split.train)
        self.validation = samples_of(network, directory, self.split.validation)

    def train_dataloader(self) -> Iterable[Batch]:
        """Batches in an order that the seed and the epoch fix."""
        how = training_of(self.network, "train")
        weights = how.weights(self.training) if how.weights else None
        rank, ranks = self._rank()
        recipe, count = self.settings.recipe, self.settings.samples_per_epoch
        sampler = EpochSampler(len(self.training), weights, recipe.seed, rank, ranks, count)
        # a resumed fit draws its first batch before Lightning tells the sampler the epoch
        sampler.set_epoch(self.trainer.current_epoch if self.trainer else 0)
        if self.feed:
            return self.feed(self.training, sampler, self.settings)
        return loader(Tensors(self.training, self.settings.size), sampler, self.settings)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Every validation sample once."""
        return loader(
            Tensors(self.validation, self.settings.size), shares(*self._rank(), len(self.validation)), self.settings
        )

    def _rank(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)


class Batches(Sampler[list[int]]):
    """The batches of an order, see `batches_of`; Lightning tells its `sampler` the epoch."""

    def __init__(self, sampler: Sampler[int] | Sequence[int], size: int) -> None:
        self.sampler, self.size = sampler, size

    def __len__(self) -> int:
        return len(batches_of(range(len(self.sampler)), self.size))  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[int]]:
        # A generator asks for the order with the first batch: a resumed fit makes it before it knows its epoch.
        yield from batches_of(list(self.sampler), self.size)


def loader(dataset: Dataset[Batch], order: Sampler[int] | Sequence[int], settings: Settings) -> DataLoader[Batch]:
    """Batches of a dataset in this order; the one place where a fit's input is made."""
    workers = settings.workers
    if workers is None:
        workers = min(8, torch.multiprocessing.cpu_count()) if torch.cuda.is_available() else 0
    return DataLoader(
        dataset,
        batch_sampler=Batches(order, settings.recipe.batch_size),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
