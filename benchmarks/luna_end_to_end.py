"""LUNA end to end: the authors' PyTorch chain, medseg in this process, and medseg's Triton ensemble, in one run.

    python -m benchmarks.luna_end_to_end CT --segment RUN --nodule RUN [--rounds 3]

Prints a Markdown table (medians and spread over the rounds; peak memory, measured in a separate round), whether the
answers agree, the ranks of the annotated nodules, and a roofline.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.luna_reference import chain, network
from medseg.data.volume import read_volume
from medseg.engines.runs import cores, exported_file, opened
from medseg.engines.triton import TritonModel
from medseg.run import Run
from medseg.task import Array, Networks, Tensors
from medseg.tasks import task_named
from medseg.tasks.luna import tables
from medseg.tasks.luna.pipeline import geometry_tensor
from medseg.triton_models.config import Served
from medseg.triton_models.repository import write
from medseg.triton_models.server import Server, serving

# Multiply-adds of the U-Net for each pixel of a slice: the weights of its convolutions at full, half and quarter size.
UNET_MACS_A_PIXEL = 1008 + 2304 + 3456 + 3456 + 512 + 6912 + 512 + 6912 + 16
CNN_MACS_A_CROP = (
    32
    * 48
    * 48
    * (27 * 8 + 27 * 64 + (27 * 128 + 27 * 256) / 8 + (27 * 512 + 27 * 1024) / 64 + (27 * 2048 + 27 * 4096) / 512)
)

ASKED = ((0, "Triton, all"), (1, "Triton, lungs"), (0, "Triton, all, again"))  # roi and name


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("ct", type=Path)
    parser.add_argument("--segment", type=Path, required=True)
    parser.add_argument("--nodule", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--precision", default="fp32")
    asked = parser.parse_args()
    runs = [Run(asked.segment), Run(asked.nodule)]
    unet, cnn = network(asked.segment), network(asked.nodule)
    task = task_named("luna")
    seconds: dict[str, list[float]] = {}
    answers: dict[str, Any] = {}

    def measure(name: str, work: Callable[[], Any]) -> None:
        start = time.perf_counter()
        answers[name] = work()
        seconds.setdefault(name, []).append(time.perf_counter() - start)
        print(f"<!-- {name}: {seconds[name][-1]:.2f} s -->", flush=True)

    pixels: list[int] = []
    with opened(runs, asked.engine, asked.precision) as networks, tempfile.TemporaryDirectory() as folder:
        served = [
            Served(
                task.network(run.network),
                str(exported_file(run, asked.engine, asked.precision).resolve()),
                asked.engine,
                cores(),
                1,
            )
            for run in runs
        ]
        names = write(Path(folder) / "models", task, served)
        counting = _counting(networks, pixels)
        for _ in range(asked.rounds):
            measure("reference", lambda: chain(asked.ct, unet, cnn))
            pixels.clear()
            measure("local, all", lambda: _ask(asked.ct, 0, lambda t: task.pipeline(t, counting)))
            with serving(Path(folder) / "models", names, Path(folder) / "log") as server:
                for roi, name in ASKED:
                    measure(name, lambda roi=roi: _served(asked.ct, roi, server))
        peaks = _peaks(asked.ct, Path(folder), names)
    print(_table(seconds, peaks))
    print(_agreement(answers))
    for name in ("Triton, all", "Triton, lungs"):
        print(_annotated(asked.ct, name, answers[name]["nodules"]))
    print(_roofline(sum(pixels), len(answers["reference"]["candidates"]), float(np.median(seconds["Triton, all"]))))


def _counting(networks: Networks, pixels: list[int]) -> Networks:
    """The networks; the number of pixels that the U-Net computes is appended to `pixels`."""

    def infer(batch: Array) -> Array:
        pixels.append(batch[:, 0].size)
        return networks("luna-segment")(batch)

    return lambda name: infer if name == "luna-segment" else networks(name)


def _ask(ct: Path, roi: int, ask: Callable[[Tensors], Tensors]) -> Tensors:
    volume = read_volume(ct)
    options = {"roi": np.array([roi], np.uint8), "threshold": np.zeros(1, np.float32)}
    return ask({"ct": volume.array, "geometry": geometry_tensor(volume.geometry)} | options)


def _served(ct: Path, roi: int, server: Server) -> Tensors:
    model = TritonModel(server.url, "luna", shared=None)  # as `medseg predict` does with a server on this machine
    try:
        return _ask(ct, roi, lambda tensors: model.ask(tensors, ("nodules", "candidates")))
    finally:
        model.close()


def _peaks(ct: Path, folder: Path, names: Sequence[str]) -> dict[str, float]:
    """The largest memory (GB) of a new server and `medseg predict` together, request after request.

    This is a separate round, because reading the memory of a dozen processes takes time.
    """
    found = {}
    with serving(folder / "models", names, folder / "log") as server:
        for roi, name in ASKED:
            options = ["--roi", ("all", "lungs")[roi], "--threshold", "0", "--url", server.url]
            command = [
                sys.executable,
                "-m",
                "medseg",
                "predict",
                "luna",
                str(ct),
                *options,
                "--out",
                str(folder / name),
            ]
            found[name] = _peak(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    return found


def _peak(asked: subprocess.Popen[bytes]) -> float:
    """The largest proportional memory (GB) of all processes that this one started, until `asked` ends."""
    peak = 0.0
    while asked.poll() is None:
        peak = max(peak, sum(map(_pss_gb, psutil.Process().children(recursive=True))))
        time.sleep(0.2)
    return peak


def _pss_gb(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / 1e9
    except psutil.Error:
        return 0.0


def _table(seconds: dict[str, list[float]], peaks: dict[str, float]) -> str:
    base = float(np.median(seconds["reference"]))
    lines = ["| way | seconds (median, min to max) | times faster | peak GB |", "| --- | ---: | ---: | ---: |"]
    for name, values in seconds.items():
        middle = float(np.median(values))
        spread = f"{middle:.1f} ({min(values):.1f} to {max(values):.1f})"
        lines.append(f"| {name} | {spread} | {base / middle:.1f} | {f'{peaks[name]:.2f}' if name in peaks else ''} |")
    return "\n".join(lines)


def _agreement(answers: dict[str, Any]) -> str:
    reference, lines = answers["reference"]["candidates"], []
    wanted: Array = answers["reference"]["mask"].reshape(-1)
    for name, answer in answers.items():
        if name == "reference":
            continue
        nodules: Array = answer["nodules"]
        mask = np.unpackbits(answer["candidates"], count=wanted.size).astype(bool)
        distance = np.linalg.norm(nodules[:, None, 3:6] - reference[None, :, :3], axis=2)
        near = distance.argmin(0)
        matched = distance.min(0) < 1.5
        off = np.abs(nodules[near, 7] - reference[:, 3])[matched].max()
        lines.append(
            f"- {name}: {matched.sum()} of {len(reference)} reference candidates, probabilities within {off:.1e}, "
            f"{int((mask != wanted).sum())} voxels of the mask differ (reference {int(wanted.sum())} marked)"
        )
    local, served = (answers[name]["nodules"] for name in ("local, all", "Triton, all"))
    lines.append(f"- local and Triton identical: {np.array_equal(local, served)}")
    return "\n".join(lines)


def _annotated(ct: Path, name: str, nodules: Array) -> str:
    """Rank, probability and distance of the annotated nodules, if annotations.csv lies beside the scans."""
    table = ct.parent.parent / "annotations.csv"
    known = [row.xyz_mm for row in tables.nodules(table.parent) if row.series == ct.stem] if table.is_file() else []
    lines = []
    for place in known:
        distances = np.linalg.norm(nodules[:, :3] - place, axis=1)
        rank = int(distances.argmin())
        said = f"probability {nodules[rank, 7]:.4f}, {distances[rank]:.2f} mm from its centre"
        lines.append(f"- {name}, annotated nodule: rank {rank + 1}, {said}")
    return "\n".join(sorted(lines))


def _roofline(pixels: int, crops: int, seconds: float) -> str:
    """FLOP/s reached end to end (only computed pixels count), compared with this machine's best matrix product."""
    macs = UNET_MACS_A_PIXEL * float(pixels) + CNN_MACS_A_CROP * crops
    size = 2048
    square = np.random.default_rng(0).random((size, size), np.float32)
    times = []
    for _ in range(8):
        start = time.perf_counter()
        square @ square
        times.append(time.perf_counter() - start)
    peak, achieved = 2 * size**3 / min(times), 2 * macs / seconds
    share = f"{achieved / 1e9:.0f} of {peak / 1e9:.0f} GFLOP/s ({achieved / peak:.0%})"
    computed = f"{pixels / 1e6:.1f} million pixels through the U-Net, {crops} crops"
    return f"Roofline: end to end {share} of this machine's best float32 matrix product; {computed}"


if __name__ == "__main__":
    main()
