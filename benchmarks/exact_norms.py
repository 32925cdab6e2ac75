"""What the exact norms of fp32.onnx cost and bring: a run's whole network with them, and with the engine's own.

    python -m benchmarks.exact_norms RUN [RUN ...] [--calls 15]

Prints a Markdown row for each run and engine: milliseconds of both, called in turn, and the largest error of their
logits beside torch's.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import onnx

from medseg.engines import open_engine
from medseg.export.given import yardstick
from medseg.run import Run
from medseg.tasks import task_as

ENGINES = ("openvino", "onnxruntime")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--calls", type=int, default=15)
    asked = parser.parse_args()
    print("| run | engine | engine's norms, ms | exact norms, ms | times slower | error | error, exact |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for run in map(Run, asked.runs):
        with TemporaryDirectory() as folder:
            _measured(run, asked.calls, Path(folder))


def _measured(run: Run, calls: int, folder: Path) -> None:
    (network,) = task_as("volume", [run]).networks
    stick = yardstick(run, network)
    graph = stick.graph()
    files = {"own": graph, "exact": stick.exact(graph)}
    for name, model in files.items():
        onnx.save(model, folder / f"{name}.onnx")
    sample = np.random.default_rng(0).standard_normal((1, *network.input_shape)).astype(np.float32)
    right = stick.infer(sample)
    for engine in ENGINES:
        opened = {name: open_engine(engine, folder / f"{name}.onnx") for name in files}
        errors = {name: float(np.abs(one(sample) - right).max()) for name, one in opened.items()}
        seconds: dict[str, list[float]] = {name: [] for name in files}
        for _ in range(calls):
            for name, one in opened.items():
                started = perf_counter()
                one(sample)
                seconds[name].append(perf_counter() - started)
        for one in opened.values():
            one.close()
        times = np.array(seconds["exact"]) / np.array(seconds["own"])
        cells = [_spread(1e3 * np.array(seconds[name])) for name in files] + [_spread(times, 2)]
        print(f"| {run.path.name} | {engine} | {' | '.join(cells)} | {errors['own']:.1e} | {errors['exact']:.1e} |")


def _spread(values: np.ndarray, digits: int = 0) -> str:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


if __name__ == "__main__":
    main()
