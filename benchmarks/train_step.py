"""A fit's input, step and loop in samples per second, compared with the plain PyTorch loop of the reference projects.

    python -m benchmarks.train_step ../shared/data [--rounds 3] [--only brain-lgg]

Both sides fit the same network in FP32 with the recipe's loss and optimizer, on the same samples, sizes (STAS: 320 x
320) and cores. The plain loop augments one sample at a time in its dataset, as the references do (LUNA: gzipped crops
from a disk cache; UW-Madison and STAS: OpenCV and albumentations; LGG: OpenCV on slices in memory; only LUNA's
segmentation augments batches). It runs without and with two loader processes. `input` is the loader alone, `step` is
the loop on one batch that is repeated, `loop` is both together. Sides take turns.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import pickle
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.decode_throughput import Files, albumentations_change
from medseg.api.loaders import fed, now
from medseg.bench.show.tables import table
from medseg.data.samples import Samples
from medseg.models.losses import loss_named
from medseg.task import Network, Recipe
from medseg.tasks import network_named, task_named, task_of, training_of
from medseg.train.augment import augment
from medseg.train.data import DataModule
from medseg.train.fit import quiet
from medseg.train.module import Fit
from medseg.train.optimizers import optimizer_for
from medseg.train.settings import Settings, recipe_with


@dataclass(frozen=True)
class Family:
    """Batch, steps and size, small enough for seconds on two cores; the folder below DATA, "" for made-up patients."""

    batch_size: int
    steps: int
    folder: str | None = None
    size: int | None = None  # None: the network's own size


FAMILIES = {
    "luna-segment": Family(16, 12),
    "luna-nodule": Family(32, 8),
    "gi-tract": Family(8, 6),
    "brain-lgg": Family(4, 6, "brain_lgg"),
    "stas-efficientnetv2-m": Family(2, 4, "stas", 320),
}
MEASURES = ("input", "step", "loop")
Ends = list[tuple[float, int]]  # when each batch was finished, and its number of samples


def main() -> None:
    """Measure in turn, and print a Markdown table of medians with their range."""
    options = _options()
    warnings.filterwarnings("ignore")
    lines = []
    for name in options.only or FAMILIES:
        with TemporaryDirectory() as folder:
            sides = _sides(name, _data(name, options.data, Path(folder)), Path(folder))
            rates: dict[tuple[str, str], list[float]] = {both: [] for both in itertools.product(sides, MEASURES)}
            for _, (side, measure) in itertools.product(range(options.rounds), rates):
                rates[side, measure].append(rate(sides[side](measure)))
                print(f"{name}, {side}, {measure}: {rates[side, measure][-1]:.2f}/s", file=sys.stderr, flush=True)
            lines += [[name, side, *(_said(rates[side, measure]) for measure in MEASURES)] for side in sides]
    print(table(["network", "loop", *(f"{measure}, samples/s" for measure in MEASURES)], lines))


def _sides(name: str, data: Path, folder: Path) -> dict[str, Callable[[str], Ends]]:
    """The sides by name: each is a function that measures input, step or loop."""
    network, family = network_named(name), FAMILIES[name]
    module = prepared(network, data, family, "auto")
    recipe, settings = module.settings.recipe, module.settings
    files = PlainFiles(module.training, network.name, folder / "crops", list(range(settings.samples_per_epoch or 0)))
    return {
        f"medseg, --loader {settings.loader}": partial(ours, module),
        "plain PyTorch, no loader processes": partial(_plain, network, recipe, files, 0),
        "plain PyTorch, 2 loader processes": partial(_plain, network, recipe, files, 2),
    }


def prepared(network: Network, data: Path, family: Family, loader: str, workers: int | None = 0) -> DataModule:
    """A fit's data for one epoch with one step more than the family's, fed by this loader."""
    recipe = replace(recipe_with(network, {}), batch_size=family.batch_size, epochs=1)
    count = family.batch_size * (family.steps + 1)
    module = DataModule(network, data, Settings(recipe, samples_per_epoch=count, workers=workers, size=family.size))
    fed(module, loader)
    return module


def ours(data: DataModule, measure: str, accelerator: str = "cpu", precision: Any = "32-true") -> Ends:
    """The ends of batches in our loader, or in the Trainer's loop as `medseg train` runs it."""
    network, recipe = data.network, data.settings.recipe
    batches: Iterable[Any] = data.train_dataloader()
    if measure == "input":
        return [(now(_device(accelerator)), len(images)) for images, *_ in batches]
    if measure == "step":
        batches = Again(next(iter(batches)), (data.settings.samples_per_epoch or 0) // recipe.batch_size)
    torch.manual_seed(0)
    fit = Fit(network, network.build(**network.options), recipe, 1, augments=data.feed is None)
    noted = _Noted(accelerator)
    with quiet():
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=1,
            precision=precision,
            max_epochs=1,
            callbacks=[noted],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(fit, batches)
    return noted.ends


class Again:
    """One batch, repeated. (Lightning would treat a list as several loaders.)"""

    def __init__(self, batch: Any, times: int) -> None:
        self.batch, self.times = batch, times

    def __iter__(self) -> Iterator[Any]:
        return itertools.repeat(self.batch, self.times)

    def __len__(self) -> int:
        return self.times


class _Noted(pl.Callback):
    """Notes when each batch ended."""

    def __init__(self, accelerator: str) -> None:
        self.accelerator, self.ends = accelerator, Ends()

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Lightning's call after each step: trainer, module, outputs, batch, number."""
        first = not self.ends  # waits for the device only at the first and last batch, because a fit does not wait
        last = len(self.ends) + 1 == arguments[0].num_training_batches
        self.ends.append((now(_device(self.accelerator if first or last else "cpu")), len(arguments[3][0])))


def _device(accelerator: str) -> torch.device:
    """torch's device for Lightning's name of an accelerator."""
    return torch.device("cuda" if accelerator == "gpu" else "cpu")


def _plain(network: Network, recipe: Recipe, files: Dataset[Any], workers: int, measure: str) -> Ends:
    """A textbook training loop, in torch's default memory format."""
    batches: Iterable[Any] = DataLoader(files, recipe.batch_size, num_workers=workers, worker_init_fn=_one_thread)
    if measure == "input":
        return [(time.perf_counter(), len(images)) for images, _ in batches]
    if measure == "step":
        batches = Again(next(iter(batches)), FAMILIES[network.name].steps + 1)
    torch.manual_seed(0)
    module = network.build(**network.options).train()
    loss, optimizer = loss_named(recipe.loss), optimizer_for(module.parameters(), recipe)
    ends: Ends = []
    for images, targets in batches:
        if network.name == "luna-segment":
            images, targets = augment(images, targets, training_of(network, "train").augmentation)
        optimizer.zero_grad()
        loss(module(images), targets).backward()
        optimizer.step()
        ends.append((time.perf_counter(), len(images)))
    return ends


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


class PlainFiles(Dataset[Any]):
    """Samples one at a time, augmented as in each reference project."""

    def __init__(self, samples: Samples, network: str, crops: Path, order: list[int]) -> None:
        self.samples, self.network, self.crops = samples, network, crops
        self.order = [index % len(samples) for index in order]
        task = task_of(network_named(network))
        change = albumentations_change(task, FAMILIES[network].size) if samples.encoded else None
        self.files = Files(samples, task, change) if change else None
        self.volumes = [samples[index] for index in sorted({*self.order})] if task == "brain-lgg" else []
        if task == "luna":
            crops.mkdir()
            for index in {*self.order}:
                (crops / str(index)).write_bytes(gzip.compress(pickle.dumps(samples[index])))

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, Any]:
        index = self.order[place]
        if self.files:
            return self.files[index]
        if self.volumes:
            return _turned(*self.volumes[index])
        image, target = pickle.loads(gzip.decompress((self.crops / str(index)).read_bytes()))
        pair = torch.from_numpy(image), torch.as_tensor(target)
        if self.network == "luna-segment":  # augmented in the batch
            return pair
        changed, _ = augment(pair[0][None], None, training_of(network_named(self.network), "train").augmentation)
        return changed[0], pair[1]


def _turned(image: Any, mask: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """A slice and its mask, scaled by up to 5 %, turned by up to 15 degrees, and mirrored with probability 0.5."""
    rng = np.random.default_rng()
    side = image.shape[-1]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-15, 15), rng.uniform(0.95, 1.05))
    flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
    moved = cv2.warpAffine(image.transpose(1, 2, 0), matrix, (side, side))[:, flip]
    truth = cv2.warpAffine(mask[0], matrix, (side, side), flags=cv2.INTER_NEAREST)[:, flip]
    picture = torch.from_numpy(np.ascontiguousarray(moved.transpose(2, 0, 1)))
    return picture, torch.from_numpy(np.ascontiguousarray(truth[None]))


def _data(name: str, data: Path, folder: Path) -> Path:
    if chosen := FAMILIES[name].folder:
        return data / chosen
    task_named(task_of(network_named(name))).phantom(folder / "data", 4, 0)
    return folder / "data"


def rate(ends: Ends) -> float:
    """Samples per second after the end of the first batch."""
    return sum(count for _, count in ends[1:]) / (ends[-1][0] - ends[0][0])


def _said(rates: list[float]) -> str:
    return f"{statistics.median(rates):.2f} ({min(rates):.2f} to {max(rates):.2f})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the shared data's folder, with brain_lgg and stas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(FAMILIES))
    return parser.parse_args()


if __name__ == "__main__":
    main()
