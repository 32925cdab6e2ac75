"""INT8 in every way that `medseg export` tries, and with the network fitted to the best one's ranges.

    python -m benchmarks.int8_ways --shared ../shared --only luna-segment luna-nodule --minutes 10

For each way: the agreement with torch if every product is in int8; and, as `medseg export` makes it, the share of
weight bytes that stays in int8 within the budget, the agreement then, and the speed beside FP32 in OpenVINO.
With --taken, only the file that `medseg export --int8` records.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import onnx

from benchmarks.by_heart import DATA
from benchmarks.export_table import NETWORKS, SAMPLES, made

WITHIN = "within the budget: weight bytes in int8 | work in int8 | Dice | Dice in OpenVINO | kept FP32 |"
WITHIN += " times as fast as FP32 | floats in bfloat16: Dice in OpenVINO | times as fast as FP32 | seconds |"
HEAD = f"| network | way | all in int8: Dice | worst class | probability error | log-odds | {WITHIN}"
TAKEN = f"| network | way | {WITHIN}"


def main() -> None:
    """Print a line for each network and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--runs", type=Path, help="what by_heart.py kept")
    parser.add_argument("--minutes", type=float, default=10, help="how long a network is fitted")
    parser.add_argument("--taken", action="store_true", help="only the file that an export records")
    parser.add_argument("--only", nargs="*", default=list(NETWORKS))
    options = parser.parse_args()
    head = TAKEN if options.taken else HEAD
    print(head, "| --- | --- |" + " ---: |" * (head.count("|") - 3), sep="\n", flush=True)
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            _network(name, options, Path(folder))


def _network(name: str, options: argparse.Namespace, folder: Path) -> None:
    from medseg.export.distill import Distill, distilled
    from medseg.export.given import yardstick
    from medseg.export.lessons import pool, seen
    from medseg.export.samples import calibration, usual_samples
    from medseg.export.ways import Turn, Ways, given
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
    judged = network, known, folder
    started = perf_counter()
    ways = Ways(full, network, known, seen(network, data, known))
    if options.taken:
        origin, cells = _within(*judged, ways)
        seconds = f"{perf_counter() - started:.0f}"
        print(f"| {name} | {origin.replace(str(data), 'the data')} | {cells} | {seconds} |", flush=True)
        return
    for way in (way for turn in ways for way in turn.ways):
        cells = _cells(*judged, [Turn([way])])
        print(f"| {name} | {way.origin.replace(str(data), 'the data')} | {cells} | |", flush=True)
    first, lessons = [*ways.signed[0].ranges.values()], pool(network, data, known)
    own = distilled(run, network, stick.program, first, lessons, Distill(options.minutes))
    steps = f"the first one distilled for {own.facts['steps']} steps"
    cells = _cells(*judged, given(own.model, own.ranges))
    print(f"| {name} | {steps} | {cells} | {own.facts['seconds']} |", flush=True)


def _cells(network: Any, known: Any, folder: Path, turns: Sequence[Any]) -> str:
    """How the first way's model agrees with everything in int8, and then what is recorded."""
    from medseg.export.search import tried

    whole = tried(turns[0].ways[0].lowering(known), network, known, {}).parity
    cells = [
        f"{whole.dice:.5f}",
        f"{whole.worst_dice:.5f}",
        f"{whole.probability_error:.4f}",
        f"{whole.odds_error:.2%}",
    ]
    return " | ".join([*cells, _within(network, known, folder, turns)[1]])


def _within(network: Any, known: Any, folder: Path, turns: Iterable[Any]) -> tuple[str, str]:
    """Where the ranges of the recorded file are from, and what it is like."""
    from medseg.errors import ExportError
    from medseg.export.int8 import int8_within
    from medseg.export.parity import budget_for

    budget, refused, found = budget_for("int8"), "", None
    try:
        for found in int8_within(turns, network, known, budget):
            onnx.save(found.model, folder / "int8.onnx")
            if not (refused := _refused(network, known, folder, budget)):
                break
    except ExportError as error:
        return "", f"{error} | | | | | | | "
    assert found is not None
    if refused:
        return "", f"{refused} | | | | | | | "
    cells = [f"{share:.1%}" for share in found.share.values()]
    cells += [f"{found.parity.dice:.5f}", *_measured(network, known, folder, "int8")]
    cells.insert(4, str(len(found.kept)))
    onnx.helper.set_model_props(found.model, {"rest": "bf16"})
    onnx.save(found.model, folder / "rest.onnx")
    return str(found.facts["ranges"]), " | ".join([*cells, *_measured(network, known, folder, "rest")])


def _measured(network: Any, known: Any, folder: Path, name: str) -> list[str]:
    """Dice in OpenVINO, and how many times as fast as FP32 there."""
    from medseg.engines import open_engine
    from medseg.export.parity import compare
    from medseg.export.speed import speed

    file = folder / f"{name}.onnx"
    times = speed(file, folder / "fp32.onnx", known.samples[0], "int8")
    engine = open_engine("openvino", file)
    there = compare(network, known.references, map(engine, known.samples))
    engine.close()
    return [f"{there.dice:.5f}", f"{times['times']:.2f}" if times["measured"] else times["because"]]


def _refused(network: Any, known: Any, folder: Path, budget: Any) -> str:
    """Why an engine refuses the file, "" if none does."""
    from medseg.errors import ExportError
    from medseg.export.fusions import judge_by_engines

    try:
        judge_by_engines(network, known, folder / "int8.onnx", budget)
    except ExportError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()
