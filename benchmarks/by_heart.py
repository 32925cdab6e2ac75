"""Every picture network in its published size learns four samples by heart; the samples are real if there are any.

    python -m benchmarks.by_heart --shared ../shared [--out RUNS] [--only gi-tract ...] [--steps 600]

Each step takes a crop of every sample, at a random place near what the task looks for. The score is the Dice of the
centred crops, in evaluation mode, with batch statistics from the crops of twelve steps. STAS's voters, whose blocks
average over the whole picture, learn whole pictures instead, shrunk to 320 x 320, in bfloat16: their runs have this
size (as `medseg train --size` makes them), and so have the files that are exported from them. Dropout and stochastic
depth are off, because they are meant to prevent learning by heart. With --out the runs are kept: `export_table.py`
uses them as networks whose logits are not close to the threshold. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from itertools import cycle, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from medseg.bench.show.tables import table
from medseg.export.samples import drawn
from medseg.models.brain import ARCHITECTURES
from medseg.models.losses import loss_named
from medseg.run import Run
from medseg.task import Array, Network
from medseg.tasks import network_named, task_of
from medseg.train.data import resized
from medseg.train.scores import PatientDice
from medseg.train.weights import save_weights

NETWORKS = {
    "gi-tract": {},
    **{f"brain-lgg {arch}": {"arch": arch} for arch in ARCHITECTURES},
    "stas-efficientnetv2-m": {},
    "stas-eca-nfnet-l2": {},
    "stas-efficientnet-b6": {},
}
DATA = {"luna": "luna", "gi-tract": "gi_tract", "brain-lgg": "brain_lgg/kaggle_3m", "stas": "stas"}
SAMPLES, LEARNT = 4, 0.955


@dataclass(frozen=True)
class Stage:
    """One part of a fit: crops of `size` x `size`, `at_once` per step, scored every `checked` steps."""

    size: int
    at_once: int
    steps: int
    checked: int
    statistics: int  # how many steps' crops give the batch statistics before a score
    lr: float = 1e-3
    bfloat16: bool = False


CROPS = Stage(128, SAMPLES, 600, 40, 12)
WHOLE = Stage(320, SAMPLES, 600, 20, 1, bfloat16=True)


def main() -> None:
    """Fit each network and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="*", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--steps", type=int, default=CROPS.steps, help="the most steps for one network")
    asked = parser.parse_args()
    rows = []
    with TemporaryDirectory() as scratch:
        for name in asked.only:
            folder = (asked.out or Path(scratch)) / name.replace(" ", "-")
            run = Run(folder) if folder.is_dir() else learnt(name, asked.shared, folder, asked.steps)
            found = run.manifest["source"]
            rows.append([name, f"{run.manifest['parameters'] / 1e6:.1f}", str(found["samples"])])
            rows[-1] += [str(found["steps"]), f"{found['dice']:.3f}", f"{found['seconds']:.0f}"]
            print(json.dumps(dict(zip(HEAD, rows[-1], strict=True))), file=sys.stderr, flush=True)
    print(table(HEAD, rows))


HEAD = ["network", "million parameters", "samples", "steps", "Dice", "seconds"]


def learnt(name: str, shared: Path, folder: Path, steps: int = CROPS.steps) -> Run:
    """A new run of the named network in `folder`, fitted to its task's samples until their Dice is over LEARNT."""
    network, data = network_named(name.split()[0]), shared / "data"
    settings = {**network.options, **NETWORKS[name]}
    images, masks, made_up = pictures(network, data / DATA[task_of(network)])
    stage, size = CROPS, {}
    if task_of(network) == "stas":
        stage, size = WHOLE, {"size": WHOLE.size}
        pairs = [resized(*pair, WHOLE.size) for pair in zip(images, masks.float(), strict=True)]
        images, masks = (torch.stack(both) for both in zip(*pairs, strict=True))
    torch.manual_seed(0)
    module, started = without_dropout(network.build(**settings)), time.perf_counter()
    taken, dice = fit(module, images, masks, replace(stage, steps=steps))
    source = {"kind": "by heart", "samples": len(images), "made_up_truth": made_up, "steps": taken, "dice": dice} | size
    run = Run.create(folder, network.name, settings, {**source, "seconds": round(time.perf_counter() - started, 1)})
    save_weights(run, module)
    return run


def pictures(network: Network, data: Path) -> tuple[Tensor, Tensor, bool]:
    """Four samples' images and masks at the network's own size, and whether a mask is made up from brightness."""
    known = drawn(network, data if data.is_dir() else None, SAMPLES)
    both = zip(known.samples, known.truths, strict=True)
    truths = [bands(image, network) if truth is None else truth for image, truth in both]
    made_up = any(truth is None for truth in known.truths)
    return torch.from_numpy(np.concatenate(known.samples)), torch.from_numpy(np.concatenate(truths)), made_up


def bands(image: Array, network: Network) -> Array:
    """A made-up truth (1, classes, h, w): bands of the smoothed picture's brightness, without the darkest half."""
    smooth = ndimage.gaussian_filter(image.mean(axis=1), (0, 4, 4))
    classes = network.output_shape[0]
    edges = np.quantile(smooth, np.linspace(0.5, 1, classes + 1))
    return np.stack([(smooth > low) & (smooth <= high) for low, high in pairwise(edges)], axis=1)


def fit(module: nn.Module, images: Tensor, masks: Tensor, stage: Stage) -> tuple[int, float]:
    """Fit the module in place; returns the number of steps and the Dice."""
    loss, optimizer = loss_named("bce-tversky"), torch.optim.Adam(module.parameters(), stage.lr)
    places, rng = [centre(mask) for mask in masks], np.random.default_rng(0)
    if stage.bfloat16:
        module.to(memory_format=torch.channels_last)
    still = crops(images, places, stage.size), crops(masks, places, stage.size)
    turn = cycle(range(len(images)))

    def drawn_crops() -> tuple[Tensor, Tensor]:
        chosen = [next(turn) for _ in images[: stage.at_once]]
        moved = [
            (row + int(rng.integers(-48, 49)), col + int(rng.integers(-48, 49)))
            for row, col in (places[i] for i in chosen)
        ]
        return crops(images[chosen], moved, stage.size), crops(masks[chosen], moved, stage.size)

    dice = 0.0
    for step in range(1, stage.steps + 1):
        pictures, truth = drawn_crops()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=stage.bfloat16):
            logits = module.train()(pictures)
        loss(logits.float(), truth.to(torch.uint8)).backward()
        optimizer.step()
        if step % stage.checked == 0:
            update_bn([drawn_crops()[0] for _ in range(stage.statistics)], module)
            dice = score(module, *still)
            print(f"  {step} steps on {stage.size} x {stage.size}: Dice {dice:.3f}", file=sys.stderr, flush=True)
            if dice > LEARNT:
                break
    return step, dice


def centre(mask: Tensor) -> tuple[int, int]:
    """Row and column of the middle of a mask (classes, h, w)."""
    row, col = ndimage.center_of_mass(mask.any(dim=0).numpy())
    return round(row), round(col)


def crops(pictures: Tensor, places: list[tuple[int, int]], size: int) -> Tensor:
    """Crops (n, channels, size, size) around these places, moved so that they lie within the pictures."""
    limits = [side - size for side in pictures.shape[2:]]
    starts = [[min(max(at - size // 2, 0), most) for at, most in zip(place, limits, strict=True)] for place in places]
    return torch.stack([one[:, r : r + size, c : c + size] for one, (r, c) in zip(pictures, starts, strict=True)])


def score(module: nn.Module, images: Tensor, masks: Tensor) -> float:
    """Mean Dice over samples and classes, in evaluation mode."""
    found = PatientDice(len(images), masks.shape[1])
    module.eval()
    with torch.inference_mode():
        logits = torch.cat([module(image[None]) for image in images])
        found.update(logits, masks.to(torch.uint8), torch.arange(len(images)))
    return float(found.compute())


def without_dropout(module: nn.Module) -> nn.Module:
    """The module, in place, with dropout and stochastic depth switched off."""
    for part in module.modules():
        for knob in ("p", "drop_prob", "drop_rate", "drop_connect_rate"):
            if isinstance(getattr(part, knob, None), float):
                setattr(part, knob, 0.0)
    return module


if __name__ == "__main__":
    main()
