"""An nnU-Net model on this CPU: nnUNetv2_predict compared with medseg on a case: stages, seconds and peak memory.

    python -m benchmarks.nnunet MODEL IMAGES --run RUN [--folds 0] [--rounds 3] [--no-mirror] [--precision bf16 int8]

MODEL is the folder from which RUN was imported. IMAGES is a folder with the channels of one case, NAME_0000 and so on.
RUN must hold fp32 and each named precision. Needs nnunetv2. Prints Markdown tables: medians over the rounds, the stages
of one more round, and how far each mask is from nnU-Net's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil

import medseg
from medseg.api.answer import Answer
from medseg.api.serve import Repository
from medseg.data.volume import read_volume
from medseg.engines.runs import opened
from medseg.metrics.overlap import dice
from medseg.run import Run
from medseg.task import Array, Reading, run_step
from medseg.tasks import task_as

EVERY_S = 0.1  # seconds between two readings of memory
Stages = dict[str, float]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--folds", nargs="+", default=["0"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-mirror", action="store_true")
    parser.add_argument("--precision", nargs="*", default=[], help="further files of the run, beside fp32")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = {"`nnUNetv2_predict -device cpu`": _commands(_theirs(asked, folder / "theirs"), asked.rounds)}
        for precision in ("fp32", *asked.precision):
            command = _ours(asked, precision, folder / f"predicted, {precision}")
            rows[f"`medseg predict`, {precision}"] = _commands(command, asked.rounds)
            rows[f"a running server, {precision}"] = _server(asked, precision, folder)
        stages = _their_stages(asked, folder), _our_stages(asked, folder / "stages, fp32")
        masks = [*sorted(folder.glob("predicted, *")), *sorted(folder.glob("served, *")), folder / "stages, fp32"]
        agreement = _agreement(folder / "theirs", masks)
    print(f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, {asked.rounds} rounds\n")
    print(_table(rows))
    print(_stages(*stages))
    print(agreement)


def _theirs(asked: argparse.Namespace, out: Path) -> list[str]:
    command = ["nnUNetv2_predict_from_modelfolder", "-i", str(asked.images), "-o", str(out), "-m", str(asked.model)]
    more = ["--disable_tta"] if asked.no_mirror else []
    beside = Path(sys.executable).parent / command[0]
    return [str(beside), *command[1:], "-f", *asked.folds, "-device", "cpu", "--disable_progress_bar", *more]


def _ours(asked: argparse.Namespace, precision: str, out: Path) -> list[str]:
    command = ["predict", "volume", str(asked.images), "--run", str(asked.run), "--out", str(out), "--overwrite"]
    more = ["--no-mirror"] if asked.no_mirror else []
    return [sys.executable, "-m", "medseg", *command, "--precision", precision, *more]


def _options(asked: argparse.Namespace) -> dict[str, float | str]:
    return {"mirror": "no"} if asked.no_mirror else {}


def _commands(command: Sequence[str], rounds: int) -> tuple[list[float], float]:
    """Each round's seconds, and the peak memory in GB of the command with its children."""
    seconds, peaks = list[float](), list[float]()
    for _ in range(rounds):
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        peaks.append(_peak(psutil.Process(process.pid), lambda process=process: process.poll() is None))
        seconds.append(time.perf_counter() - start)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return seconds, max(peaks)


def _server(asked: argparse.Namespace, precision: str, folder: Path) -> tuple[list[float], float]:
    """Seconds from a case's files to the answer's files with a warm server, and its processes' peak memory in GB."""
    seconds, peak = list[float](), 0.0
    with (
        medseg.serve("volume", [asked.run], Repository(precision=precision), log=folder / "log") as server,
        medseg.open_predictor("volume", url=server.url) as predictor,
    ):
        for _ in range(asked.rounds + 1):
            start = time.perf_counter()
            answer = predictor.answer(asked.images, **_options(asked))
            written(answer, folder / f"served, {precision}")
            seconds.append(time.perf_counter() - start)
            peak = max(peak, sum(map(_pss_gb, psutil.Process().children(recursive=True))))
    return seconds[1:], peak


def written(answer: Answer, folder: Path) -> None:
    """Write an answer's files, as `medseg predict` does."""
    folder.mkdir(exist_ok=True)
    answer.task.files.write(answer.request, answer.arrays, folder)


def _peak(process: psutil.Process, running: Callable[[], bool]) -> float:
    peak = 0.0
    while running():
        try:
            tree = [process, *process.children(recursive=True)]
        except psutil.Error:
            break
        peak = max(peak, sum(map(_pss_gb, tree)))
        time.sleep(EVERY_S)
    return peak


def _pss_gb(process: psutil.Process) -> float:
    """A process's proportional memory in GB; 0 if it has just ended."""
    try:
        return process.memory_full_info().pss / 1e9
    except psutil.Error:
        return 0.0


def _their_stages(asked: argparse.Namespace, folder: Path) -> Stages:
    """nnU-Net's own functions one after the other, without the start of processes."""
    import torch
    from nnunetv2.inference.export_prediction import export_prediction_from_logits
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=not asked.no_mirror, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(asked.model), [int(fold) for fold in asked.folds])
    plans, configuration, dataset = (
        predictor.plans_manager,
        predictor.configuration_manager,
        predictor.dataset_json,
    )
    clock = _Clock()
    files = sorted(str(path) for path in asked.images.iterdir())
    data, _, about = configuration.preprocessor_class().run_case(files, None, plans, configuration, dataset)
    clock.stop("reading and preprocessing")
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    clock.stop("network")
    export_prediction_from_logits(logits.numpy(), about, configuration, plans, dataset, str(folder / "answer"))
    clock.stop("back to the image's grid, writing")
    return clock.stages


def _our_stages(asked: argparse.Namespace, out: Path) -> Stages:
    """The pipeline's steps in this process, with a network that has answered once before."""
    task = task_as("volume", [Run(asked.run)])
    with opened([Run(asked.run)], "openvino", "fp32") as networks:
        for network in task.networks:
            networks(network.name)(np.zeros((1, *network.input_shape), np.float32))
        clock = _Clock()
        request = task.files.sources(asked.images, Reading())[0].load()
        tensors = dict(request.tensors) | task.optional_tensors(_options(asked))
        clock.stop("read")
        for step in task.pipeline.steps:
            tensors |= run_step(step, tensors, networks)
            clock.stop(step.name)
        written(Answer(task, request, {"mask": tensors["mask"]}), out)
        clock.stop("write")
    return clock.stages


class _Clock:
    """Seconds between stops, by name."""

    def __init__(self) -> None:
        self.stages: Stages = {}
        self._last = time.perf_counter()

    def stop(self, name: str) -> None:
        """Add the time since the last stop under this name."""
        now = time.perf_counter()
        self.stages[name], self._last = now - self._last, now


def _agreement(theirs: Path, others: Sequence[Path]) -> str:
    """How many voxels of each mask differ from nnU-Net's, and the lowest Dice of a class with it."""
    lines = ["| mask | voxels | differ from nnU-Net's | lowest Dice of a class |", "| --- | ---: | ---: | ---: |"]
    for other in others:
        (pair,) = [(labels(path), labels(other / path.name)) for path in theirs.glob("*.nii.gz")]
        least = min(dice(pair[1] == label, pair[0] == label) for label in np.unique(pair[0])[1:])
        lines.append(f"| {other.name} | {pair[0].size:,} | {int((pair[0] != pair[1]).sum()):,} | {least:.5f} |")
    return "\n".join(lines)


def labels(path: Path) -> Array:
    """The label map of a file."""
    return read_volume(path, Reading(real=True)).array


def _table(rows: dict[str, tuple[list[float], float]]) -> str:
    base = float(np.median(next(iter(rows.values()))[0]))
    lines = ["| way | seconds (median, min to max) | times faster | peak GB |", "| --- | ---: | ---: | ---: |"]
    for name, (seconds, peak) in rows.items():
        middle = float(np.median(seconds))
        spread = f"{middle:.1f} ({min(seconds):.1f} to {max(seconds):.1f})"
        lines.append(f"| {name} | {spread} | {base / middle:.1f} | {peak:.2f} |")
    return "\n".join([*lines, ""])


def _stages(theirs: Stages, ours: Stages) -> str:
    lines = ["| stages | seconds | together |", "| --- | --- | ---: |"]
    for name, stages in (("nnU-Net", theirs), ("medseg", ours)):
        parts = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in stages.items())
        lines.append(f"| {name} | {parts} | {sum(stages.values()):.2f} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
