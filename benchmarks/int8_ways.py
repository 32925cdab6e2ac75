"""INT8 in every way that `medseg export` tries, and with the network fitted to the best one's ranges.

    python -m benchmarks.int8_ways --shared ../shared --only luna-segment luna-nodule --minutes 10

For each way: the agreement with torch if every product is in int8; and, as `medseg export` makes it, the share of
weight bytes that stays in int8 within the budget, the agreement then, and the speed beside FP32 in OpenVINO.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from benchmarks.by_heart import DATA
from benchmarks.export_table import NETWORKS, SAMPLES, made

HEAD = (
    "| network | way | all in int8: Dice | worst class | probability error | log-odds | within the budget: int8 share "
    "| Dice | kept FP32 | times as fast as FP32 | seconds |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
)


def main() -> None:
    """Print a line for each network and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--runs", type=Path, help="what by_heart.py kept")
    parser.add_argument("--minutes", type=float, default=10, help="how long a network is fitted")
    parser.add_argument("--only", nargs="*", default=list(NETWORKS))
    options = parser.parse_args()
    print(*HEAD, sep="\n", flush=True)
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            _network(name, options, Path(folder))


def _network(name: str, options: argparse.Namespace, folder: Path) -> None:
    from medseg.export.chain import usual_samples
    from medseg.export.distill import Distill, distilled
    from medseg.export.given import yardstick
    from medseg.export.int8 import given, ways
    from medseg.export.lessons import pool, seen
    from medseg.export.samples import calibration
    from medseg.tasks import network_named, task_of

    network = network_named(name.split()[0])
    task = task_of(network)
    data = options.shared / "data" / DATA[task]
    run = made(name, options.shared, options.runs, folder / "run")
    stick = yardstick(run, network)
    assert stick.program is not None
    known = calibration(network, stick.infer, data, SAMPLES.get(task, usual_samples(network)))
    full = stick.graph()
    onnx.save(full, folder / "fp32.onnx")
    found = ways(full, network, known, seen(network, data, known))
    for way in found:
        origin = way.origin.replace(str(data), "the data")
        print(f"| {name} | {origin} | {_cells(network, known, [way], folder)} | |", flush=True)
    lessons = pool(network, data, known)
    own = distilled(run, network, stick.program, [*found[0].ranges.values()], lessons, Distill(options.minutes))
    cells = _cells(network, known, given(own.model, own.ranges), folder)
    steps = f"the first one distilled for {own.facts['steps']} steps"
    print(f"| {name} | {steps} | {cells} | {own.facts['seconds']} |", flush=True)


def _cells(network: Any, known: Any, ways: Sequence[Any], folder: Path) -> str:
    from medseg.errors import ExportError
    from medseg.export.int8 import int8_within
    from medseg.export.parity import Budget, budget_for
    from medseg.export.speed import speed

    whole = int8_within(ways, network, known, Budget(0, 1)).parity
    cells = [
        f"{whole.dice:.5f}",
        f"{whole.worst_dice:.5f}",
        f"{whole.probability_error:.4f}",
        f"{whole.odds_error:.2%}",
    ]
    try:
        found = int8_within(ways, network, known, budget_for("int8"))
    except ExportError:
        return " | ".join([*cells, "none is within it", "", "", ""])
    onnx.save(found.model, folder / "int8.onnx")
    times = speed(folder / "int8.onnx", folder / "fp32.onnx", known.samples[0], "int8")
    cells += [f"{found.share['weight_bytes']:.0%}", f"{found.parity.dice:.5f}", str(len(found.kept))]
    return " | ".join([*cells, f"{times['times']:.2f}" if times["measured"] else times["because"]])


if __name__ == "__main__":
    main()
