"""What each method of post-training INT8 gives, one by one, on every network, with every product in int8.

    python -m benchmarks.int8_methods --shared ../shared --runs RUNS [--only luna-segment ...]

Each cell is the Dice to torch in ONNX Runtime; for a network that classifies crops it is the largest error of a
probability. The first three columns have one range for each tensor: up to its largest value, to its 99.99th percentile,
or to where its values are rounded with the least squared error. The others have evened channels: with signs, and at the
end counted from bounds; each with the strength that is best with nothing else. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.by_heart import DATA
from benchmarks.export_table import NETWORKS, SAMPLES, made

HEAD = ["largest", "99.99 %", "least squares", "evened by", "nothing else", "first and last in FP32", "and the bias"]
HEAD += ["rounded as in GPTQ, and the bias", "fitted, and the bias", "both"]
HEAD += ["from bounds, evened by", "nothing else", "both"]
PARTS = ((False, False), (False, True), (True, False), (True, True))  # fitted by least squares, rounded so as to cancel
VALUES = 10_000  # of each tensor of each sample, which give percentiles and squared errors
SHARES = np.arange(1, 21) / 20  # of the largest value: where a range may end


def main() -> None:
    """Print a line for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--runs", type=Path, help="what by_heart.py kept")
    parser.add_argument("--only", nargs="*", default=list(NETWORKS))
    options = parser.parse_args()
    print(f"| network | {' | '.join(HEAD)} |", "| --- |" + " ---: |" * len(HEAD), sep="\n", flush=True)
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            cells = measured(name, options.shared, options.runs, Path(folder) / "run")
            print(f"| {name} |", *(f"{cell} |" for cell in cells), flush=True)


def measured(name: str, shared: Path, runs: Path | None, folder: Path) -> Iterator[str]:
    """The cells of a network's line."""
    from medseg.export.evening import channel_peaks, equalized, ranges_of
    from medseg.export.given import yardstick
    from medseg.export.lessons import seen
    from medseg.export.parity import compare, is_classifier, onnx_infer
    from medseg.export.products import products
    from medseg.export.quantize import quantized
    from medseg.export.refit import applied, studied
    from medseg.export.samples import calibration, usual_samples
    from medseg.export.ways import Ways
    from medseg.tasks import network_named, task_of

    network = network_named(name.split()[0])
    task = task_of(network)
    data = shared / "data" / DATA[task]
    stick = yardstick(made(name, shared, runs, folder), network)
    known = calibration(network, stick.infer, data, SAMPLES.get(task, usual_samples(network)))
    given = seen(network, data, known)
    model = stick.graph()
    ways = Ways(model, network, known, given)

    def cell(ranges: Mapping[str, Any], found: Mapping[str, Any] | None = None) -> str:
        int8 = applied(quantized(equalized(model, ranges), ranges), found or {})
        parity = compare(network, known.references, map(onnx_infer(int8), known.samples))
        return f"{parity.probability_error:.3f}" if is_classifier(network) else f"{parity.dice:.4f}"

    def refits(ranges: Mapping[str, Any], *several: tuple[bool, bool]) -> Iterator[dict[str, Any]]:
        found = studied(equalized(model, ranges), ranges, given.samples)
        return ({one.node.name: one.refit(*parts) for one in found} for parts in several)

    peaks = channel_peaks(model, given.samples)
    for ends in (dict.fromkeys(peaks, 1.0), *_ends(model, given.samples)):
        yield cell(ranges_of({node: peak * ends[node] for node, peak in peaks.items()}, 0))
    signed = ways.signed[0].ranges
    yield ways.signed[0].origin.rpartition(" ")[2]
    yield cell(signed)
    nodes = [node.name for node in products(model)]
    yield cell({node: one for node, one in signed.items() if node not in (nodes[0], nodes[-1])})
    yield from (cell(signed, found) for found in refits(signed, *PARTS))
    if not ways.unsigned:
        yield from ("no bounds", "", "")
        return
    unsigned = ways.unsigned[0].ranges
    yield ways.unsigned[0].origin.rpartition(" ")[2]
    yield cell(unsigned)
    yield from (cell(unsigned, found) for found in refits(unsigned, PARTS[-1]))


def _ends(model: Any, samples: Any) -> tuple[dict[str, float], dict[str, float]]:
    """Where products' ranges end, as shares of their inputs' largest values: at a percentile, and by squared error."""
    from medseg.export.evening import LEVELS
    from medseg.export.products import products, watched

    names = sorted({node.input[0] for node in products(model)})
    session, draw = watched(model, names), np.random.default_rng(0)
    found: dict[str, list[Any]] = {name: [] for name in names}
    largest = dict.fromkeys(names, 1e-3)
    for sample in samples:
        for name, values in zip(names, session.run(names, {"input": sample}), strict=True):
            flat = np.abs(values).ravel()
            largest[name] = max(largest[name], float(flat.max()))
            found[name].append(flat[draw.integers(len(flat), size=min(VALUES, len(flat)))])
    by_percentile, by_error = {}, {}
    for name, parts in found.items():
        values = np.concatenate(parts)
        by_percentile[name] = max(float(np.quantile(values, 0.9999)) / largest[name], SHARES[0])

        def error(share: float, values: Any = values, most: float = largest[name]) -> float:
            step = share * most / LEVELS
            return float(((np.minimum(np.round(values / step), LEVELS) * step - values) ** 2).sum())

        by_error[name] = min(SHARES, key=error)
    at = {node.name: node.input[0] for node in products(model)}
    by_node = ({node: ends[name] for node, name in at.items()} for ends in (by_percentile, by_error))
    return next(by_node), next(by_node)


if __name__ == "__main__":
    main()
