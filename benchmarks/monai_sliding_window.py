"""MONAI's sliding window compared with our own streaming on LGG volumes, from normalised volume to mask.

    python -m benchmarks.monai_sliding_window DATA --run RUN [--cases 4] [--rounds 3]

MONAI's `SliceInferer` is its sliding window for networks that take one slice of a volume; it sends 8 slices per call.
It runs once with the network in eager PyTorch, as its users do, and once with our engine as its predictor. So the gain
of the engine and the cost of the loop around it can be told apart. All sides have the same weights, volumes and cores,
and take turns.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from monai.inferers import SliceInferer

from medseg.bench.cases import cases_of
from medseg.bench.show.tables import seconds, table
from medseg.engines.runs import opened
from medseg.export.graph import trained
from medseg.metrics.overlap import dice
from medseg.run import Run
from medseg.task import Array, Infer, run_step
from medseg.tasks import network_named, task_named
from medseg.tasks.brain_lgg.pipeline import segment

Side = Callable[[Array], Array]  # slices (n, 3, 256, 256) float32 -> logits (n, 1, 256, 256)


def main() -> None:
    """Measure all sides in turn and print the table."""
    options = _options()
    run = Run(options.run)
    volumes = prepared(options.data, options.cases)
    with opened([run], options.engine, "fp32") as networks:
        infer = networks(run.network)
        sides = {
            "MONAI, eager PyTorch": monai(eager(run)),
            f"MONAI, {options.engine}": monai(lambda slices: torch.from_numpy(infer(slices.numpy()))),
            f"medseg, {options.engine}": lambda slices: segment({"input": slices}, networks)["logits"],
        }
        times, answers = measured(sides, volumes, options.rounds)
    slices = sum(map(len, volumes))
    first = answers[next(iter(sides))]
    rows = [_row(name, times[name], slices, _least_dice(first, answers[name])) for name in sides]
    print(f"{len(volumes)} volumes, {slices} slices in the brain, {options.rounds} rounds by turns.\n")
    print(table(["side", "all volumes", "slices a second", "spread", "least Dice to MONAI"], rows))


def prepared(data: Path, count: int) -> list[Array]:
    """The first volumes' slices as the network gets them, decoded and normalised by the task's own steps."""
    task, volumes = task_named("brain-lgg"), []
    for case in cases_of(task, data)[:count]:
        tensors = case.ask()
        for step in task.pipeline.steps[:3]:  # check, decode, normalise
            tensors = tensors | run_step(step, tensors, _none)
        volumes.append(tensors["input"])
    return volumes


def _none(name: str) -> Infer:
    raise AssertionError(f"no step before the network asks for {name}")


def eager(run: Run) -> torch.nn.Module:
    """The run's network as users call it: a module in evaluation mode."""
    return trained(run, network_named(run.network)).eval()


def monai(predictor: Callable[[torch.Tensor], torch.Tensor]) -> Side:
    """MONAI's inferer around a predictor: a volume as one image (1, 3, n, 256, 256), sliced along its third axis."""
    inferer = SliceInferer(roi_size=(256, 256), sw_batch_size=8, spatial_dim=0)

    def side(slices: Array) -> Array:
        with torch.inference_mode():
            volume = torch.from_numpy(slices).transpose(0, 1)[None]
            return inferer(volume, predictor)[0].transpose(0, 1).numpy()

    return side


def measured(
    sides: dict[str, Side], volumes: list[Array], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[Array]]]:
    """Seconds for all volumes in every round, and the masks; a first round for warming up is not counted."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    answers: dict[str, list[Array]] = {}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            start_s = time.perf_counter()
            logits = [side(volume) for volume in volumes]
            if turn:
                times[name].append(time.perf_counter() - start_s)
            answers[name] = [one > 0 for one in logits]
    return times, answers


def _row(name: str, times: list[float], slices: int, least: float) -> list[str]:
    middle, spread = statistics.median(times), f"{seconds(min(times))} to {seconds(max(times))}"
    return [name, seconds(middle), f"{slices / middle:.1f}", spread, f"{least:.5f}"]


def _least_dice(expected: list[Array], found: list[Array]) -> float:
    return min(dice(np.asarray(one), np.asarray(other)) for one, other in zip(expected, found, strict=True))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
