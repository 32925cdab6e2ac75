"""Training pictures per second: our loaders, albumentations and MONAI on the same files, masks and transforms.

    python benchmarks/decode_throughput.py ../shared/data [--rounds 3] [--json]

Each loader has two workers. It decodes the files, scales, resizes and augments them, and gives batches as torch
tensors. UW-Madison's slices are flipped, moved, bent and get holes; STAS's pictures are turned. The brain's volumes are
prepared before, and their slices are only flipped and moved. Rounds alternate between the loaders, so that other work
on the machine slows all of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from medseg.dali_pipelines.loader import DaliLoader, Fit
from medseg.data.samples import Samples
from medseg.task import Array
from medseg.tasks import network_named, task_named, training_of
from medseg.tasks.brain_lgg import reader as brain_lgg
from medseg.tasks.gi_tract import reader as gi_tract
from medseg.tasks.stas import reader as stas
from medseg.train.augment import augment
from medseg.train.data import Tensors

WORKERS = 2
SIZES = {"gi-tract": 224, "brain-lgg": 256, "stas": 800}
COUNTS = {"gi-tract": 480, "brain-lgg": 480, "stas": 40}
BATCHES = {"gi-tract": 32, "brain-lgg": 16, "stas": 8}
NETWORKS = {task: task_named(task).networks[0].name for task in SIZES}

Changed = Callable[
    [Array, Array], tuple[torch.Tensor, torch.Tensor]
]  # picture (h, w, c), mask (h, w, k) -> both changed


class Order:
    """Every sample once, in order: the same epoch for all loaders."""

    epoch, rank, ranks = 0, 0, 1

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Any:
        return iter(range(self.count))


class Files(Dataset[Any]):
    """The same files and masks for torch's DataLoader; `change` augments them with another library."""

    def __init__(self, samples: Samples, task: str, change: Changed) -> None:
        self.samples, self.task, self.change = samples, task, change

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self.samples.encoded:
            content, mask = self.samples.encoded(index)
            return self.change(scaled(content, self.task), mask.transpose(1, 2, 0))
        image, mask = self.samples[index]
        return self.change(np.ascontiguousarray(image.transpose(1, 2, 0)), mask.transpose(1, 2, 0))


class Augmented:
    """As with `--loader torch`: the readers' samples in torch's DataLoader; whole batches are augmented."""

    def __init__(self, samples: Samples, task: str) -> None:
        options = {"num_workers": WORKERS, "worker_init_fn": _one_thread}
        self.loader: DataLoader[Any] = DataLoader(Tensors(samples), BATCHES[task], **options)
        self.how = training_of(network_named(NETWORKS[task]), "train").augmentation

    def __iter__(self) -> Any:
        for images, masks, _ in self.loader:
            yield augment(images, masks, self.how)


def scaled(content: bytes, task: str) -> Array:
    """The decoded picture (h, w, 3) float32, 0 to 1, as a user of OpenCV would code it."""
    if task == "gi-tract":
        grey = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED).astype(np.float32)
        return cv2.merge([grey / max(grey.max(), 1)] * 3)
    colours = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB).astype(np.float32)
    low, high = colours.min(), colours.max()
    return (colours - low) / max(high - low, 1)


def albumentations_change(task: str, size: int | None = None) -> Changed:
    """The reference projects' own library, with their transforms, at the task's size or another one."""
    import albumentations as alb

    size = size or SIZES[task]
    steps = [alb.Resize(size, size, interpolation=cv2.INTER_LINEAR, mask_interpolation=cv2.INTER_NEAREST)]
    if task == "gi-tract":
        shift = {"x": (-0.0625, 0.0625), "y": (-0.0625, 0.0625)}
        steps += [
            alb.HorizontalFlip(p=0.5),
            alb.Affine(scale=(0.95, 1.05), translate_percent=shift, rotate=(-10, 10), p=0.5),
            alb.GridDistortion(num_steps=5, distort_limit=0.05, p=0.25),
            alb.CoarseDropout((5, 8), (0.05, 0.05), (0.05, 0.05), fill=0, fill_mask=0, p=0.5),
        ]
    elif task == "brain-lgg":
        steps = [alb.HorizontalFlip(p=0.5), alb.Affine(scale=(0.95, 1.05), rotate=(-15, 15), p=1)]
    else:
        steps += [alb.RandomRotate90(p=0.3)]
    transform = alb.Compose(steps)

    def change(picture: Array, mask: Array) -> tuple[torch.Tensor, torch.Tensor]:
        made = transform(image=picture, mask=np.ascontiguousarray(mask))
        image, truth = (np.ascontiguousarray(made[name].transpose(2, 0, 1)) for name in ("image", "mask"))
        return torch.from_numpy(image), torch.from_numpy(truth)

    return change


def monai_change(task: str) -> Changed:
    """MONAI's dictionary transforms."""
    from monai import transforms as mt

    size, keys = (SIZES[task],) * 2, ["image", "mask"]
    steps: list[Any] = [mt.Resized(keys, size, mode=["bilinear", "nearest-exact"])]
    if task == "gi-tract":
        move = {"rotate_range": np.radians(10), "scale_range": 0.05, "translate_range": 0.0625 * size[0]}
        hole = (round(0.05 * size[0]),) * 2
        steps += [
            mt.RandFlipd(keys, prob=0.5, spatial_axis=1),
            mt.RandAffined(keys, prob=0.5, mode=["bilinear", "nearest"], padding_mode="border", **move),
            mt.RandGridDistortiond(keys, prob=0.25, distort_limit=0.05, mode=["bilinear", "nearest"]),
            mt.RandCoarseDropoutd(keys, holes=5, max_holes=8, spatial_size=hole, fill_value=0, prob=0.5),
        ]
    elif task == "brain-lgg":
        move = {"rotate_range": np.radians(15), "scale_range": 0.05, "padding_mode": "border"}
        flip = mt.RandFlipd(keys, prob=0.5, spatial_axis=1)
        steps = [flip, mt.RandAffined(keys, prob=1, mode=["bilinear", "nearest"], **move)]
    else:
        steps += [mt.RandRotate90d(keys, prob=0.3)]
    transform = mt.Compose(steps)

    def change(picture: Array, mask: Array) -> tuple[torch.Tensor, torch.Tensor]:
        made = transform(
            {"image": torch.from_numpy(picture).permute(2, 0, 1), "mask": torch.from_numpy(mask).permute(2, 0, 1)}
        )
        return made["image"].as_tensor(), made["mask"].as_tensor()

    return change


def workers_loader(samples: Samples, task: str, change: Changed) -> Iterable[Any]:
    """Torch's DataLoader with two worker processes."""
    return DataLoader(Files(samples, task, change), BATCHES[task], num_workers=WORKERS, worker_init_fn=_one_thread)


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def loaders(task: str, samples: Samples) -> dict[str, Iterable[Any]]:
    """The loaders by name."""
    how, decoding = Augmented(samples, task).how, task_named(task).decoding.values()
    decode = next((one for one in decoding if one.size), None)
    fit = Fit((SIZES[task],) * 2, BATCHES[task], 0, how, decode, threads=WORKERS)
    return {
        "medseg (DALI)": DaliLoader(samples, Order(len(samples)), fit),
        "medseg (torch)": Augmented(samples, task),
        "albumentations": workers_loader(samples, task, albumentations_change(task)),
        "MONAI": workers_loader(samples, task, monai_change(task)),
    }


def repeated(samples: Samples, count: int) -> Samples:
    """`count` samples, which repeat the same ones."""
    index = partial(_wrapped, len(samples))
    patients = tuple(samples.patients[index(at)] for at in range(count))
    encoded = samples.encoded
    files = (lambda at: encoded(index(at))) if encoded else None
    return Samples(lambda at: samples[index(at)], patients, np.ones(count), files)


def _wrapped(count: int, at: int) -> int:
    return at % count


def real_samples(task: str, data: Path, folder: Path) -> Samples:
    """The real STAS pictures, four real brains, and made-up UW-Madison slices, because there are only two real ones."""
    if task == "brain-lgg":
        return brain_lgg.samples(data / "brain_lgg", brain_lgg.patients(data / "brain_lgg")[:4])
    if task == "stas":
        return stas.samples(data / "stas", stas.patients(data / "stas"))
    task_named(task).known_data("test").phantom(folder, 4, 0)
    return gi_tract.samples(folder, gi_tract.patients(folder))


def measured(loader: Iterable[Any], count: int) -> tuple[float, float]:
    """Pictures per second of one epoch after its first batch, and CPU milliseconds per picture, with the workers'.

    On a machine with other work, the CPU time is the steadier number.
    """
    start, seen, first, before = 0.0, 0, 0, _cpu_seconds()
    for batch in loader:
        if not seen:
            start, first = time.perf_counter(), len(batch[0])
        seen += len(batch[0])
    rate = (seen - first) / (time.perf_counter() - start)
    assert seen == count
    return rate, 1e3 * (_cpu_seconds() - before) / count


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def rounds(task: str, data: Path, count: int) -> dict[str, list[tuple[float, float]]]:
    """`measured` of each loader, `count` times; the loaders take turns."""
    with TemporaryDirectory() as folder:
        samples = repeated(real_samples(task, data, Path(folder)), COUNTS[task])
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in loaders(task, samples)}
        for _ in range(count):
            for name, loader in loaders(task, samples).items():
                found[name].append(measured(loader, COUNTS[task]))
                print(f"{task} {name}: {found[name][-1][0]:.1f} images/s", file=sys.stderr)
    return found


def main() -> None:
    """Measure, and print a Markdown table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    results = {task: rounds(task, arguments.data, arguments.rounds) for task in SIZES}
    if arguments.json:
        print(json.dumps(results))
        return
    print("| task | loader | images/s | CPU ms an image |\n| --- | --- | ---: | ---: |")
    for task, found in results.items():
        for loader, values in found.items():
            rates, costs = zip(*values, strict=True)
            print(f"| {task} | {loader} | {spread(rates)} | {spread(costs)} |")


def spread(values: Sequence[float]) -> str:
    """The median and the range of the rounds as text."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
