"""Which loader feeds a fit: torch's, DALI's, or the one that is faster here. Heavy: only train imports it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from typing import Any

import torch

from medseg.data.augmentation import Augmentation
from medseg.data.samples import Samples
from medseg.errors import InputError
from medseg.run import Run
from medseg.task import Decode, Network
from medseg.tasks import task_named, task_of, training_of
from medseg.train.augment import augment
from medseg.train.data import DataModule, Feed
from medseg.train.sampling import EpochSampler
from medseg.train.settings import Settings

LOADERS = ("torch", "dali", "auto")
_MEASURED = 4  # batches of each loader, the first of which is not counted


def fed(data: DataModule, loader: str, begun: Run | None = None) -> Settings:
    """Let the loader of this name feed the data module; return its settings, which then name the chosen loader.

    `auto` keeps the loader of a run that has already begun (a resumed fit, or the leading process of this fit);
    otherwise it measures. Raises InputError for a loader that cannot be had.
    """
    if loader not in LOADERS:
        raise InputError(f"--loader is {loader!r}; expected one of {', '.join(LOADERS)}")
    problem = _unfit(data.network)
    if loader == "dali" and problem:
        raise InputError(f"--loader dali cannot feed {data.network.name}, {problem}: choose torch")
    if loader == "dali" and not _installed():
        raise InputError("--loader dali needs 'nvidia.dali': pip install 'medseg[dali]'")
    if loader == "auto" and begun:
        loader = str(begun.manifest["source"].get("loader", "torch"))
    if loader == "auto":
        loader = faster(data) if not problem and _installed() else "torch"
    data.feed = dali_feed(data.network) if loader == "dali" else None
    data.settings = replace(data.settings, loader=loader)
    return data.settings


def _unfit(network: Network) -> str:
    """Why DALI cannot feed a network, in words that follow its name; "" where it can."""
    from medseg.dali_pipelines.random_changes import undrawn

    if len(network.input_shape) != 3:
        return f"whose input has {len(network.input_shape)} axes; expected pictures of 3"
    other = undrawn(training_of(network, "train").augmentation)
    return f"whose augmentation uses {other}, which only torch's loader can do" if other else ""


def dali_feed(network: Network) -> Feed:
    """Training batches by DALI, on the GPU where there is one."""
    from medseg.dali_pipelines.loader import DaliLoader, Fit

    def feed(samples: Samples, sampler: EpochSampler, settings: Settings) -> Iterable[Any]:
        size = (settings.size, settings.size) if settings.size else (network.input_shape[1], network.input_shape[2])
        fit = Fit(
            size=size,
            how=training_of(network, "train").augmentation,
            decode=_decode_of(network) if samples.encoded else None,
            batch_size=settings.recipe.batch_size,
            seed=settings.recipe.seed,
            device_id=torch.cuda.current_device() if torch.cuda.is_available() else None,
            threads=settings.workers or min(8, torch.multiprocessing.cpu_count()),
        )
        return DaliLoader(samples, sampler, fit)

    return feed


def _decode_of(network: Network) -> Decode | None:
    """How the network's own task decodes a picture to the network's input, if the task says so."""
    decoding = task_named(task_of(network)).decoding.values()
    return next((one for one in decoding if one.size is not None), None)


def faster(data: DataModule) -> str:
    """`torch` or `dali`, whichever gives the first augmented batches of this fit in less time.

    Both are timed until the batch is augmented and on the device that computes; torch's batches are augmented there.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seconds = {}
    for name, feed in (("torch", None), ("dali", dali_feed(data.network))):
        data.feed = feed
        how = None if feed else training_of(data.network, "train").augmentation
        seconds[name] = seconds_a_batch(data.train_dataloader(), how, device)
    return min(seconds, key=lambda name: seconds[name])


def seconds_a_batch(batches: Iterable[Any], how: Augmentation | None, device: torch.device) -> float:
    """Seconds until a batch is on the device and augmented, without the first batch; infinite if there is only one."""
    start, count = 0.0, 0
    for count, (images, masks, _) in enumerate(islice(batches, _MEASURED)):
        images, masks = images.to(device), masks.to(device)
        if how:
            augment(images, masks, how)
        if count == 0:
            start = now(device)
    return (now(device) - start) / count if count else float("inf")


def now(device: torch.device) -> float:
    """The time at which the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _installed() -> bool:
    try:
        return find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:  # not even its parent, `nvidia`
        return False
