"""LUNA on a whole real CT in several precisions: masks, candidates and the annotated nodules' ranks beside FP32's.

    python -m benchmarks.luna_precisions DATA --reference DATA/reference --segment RUN --nodule RUN

DATA is a LUNA folder with one scan and its annotations.csv; the reference is what the authors' chain answers on that
scan, as JSON. Prints one Markdown table. A candidate of the reference counts as found by the nearest one within 5 mm.
`--engine rounding` computes as the export's parity does: every operation's result is rounded to the file's precision.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx

from medseg.data.volume import read_volume
from medseg.engines.runs import found_in, opened
from medseg.export.parity import onnx_infer
from medseg.export.precision import rounded
from medseg.metrics.overlap import dice
from medseg.run import Run
from medseg.task import Array, Networks, Tensors
from medseg.tasks import task_named
from medseg.tasks.luna.pipeline import geometry_tensor, mask_from_bits
from medseg.tasks.luna.tables import nodules, scans

NEAR_MM = 5.0
WORLD, PROBABILITY = slice(0, 3), 7  # columns of the pipeline's table
HEAD = (
    "| precision | mask Dice to FP32 | candidates over 0.5 | of the reference's lost | gained | largest change in "
    "probability | annotated nodules: rank (distance in mm) | seconds |",
    "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: |",
)


def main() -> None:
    """Ask in every precision and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--segment", type=Path, required=True)
    parser.add_argument("--nodule", type=Path, required=True)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16", "int8"])
    parser.add_argument("--engine", default="openvino")
    asked = parser.parse_args()
    ((series, path),) = scans(asked.data).items()
    reference = candidates(asked.reference / f"{series}.json")
    annotated = np.array([row.xyz_mm for row in nodules(asked.data) if row.series == series])
    volume = read_volume(path)
    tensors = {"ct": volume.array, "geometry": geometry_tensor(volume.geometry), "threshold": np.zeros(1, np.float32)}
    print(*HEAD, sep="\n")
    full = None
    for precision in asked.precisions:
        started = perf_counter()
        with networks_of([Run(asked.segment), Run(asked.nodule)], asked.engine, precision) as networks:
            answer = task_named("luna").pipeline(tensors, networks)
        seconds = perf_counter() - started
        mask = mask_from_bits(answer["candidates"], volume.array.shape)
        full = mask if full is None else full
        cells = [precision, f"{dice(mask, full):.5f}", *cells_of(answer, reference, annotated), f"{seconds:.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


@contextmanager
def networks_of(runs: list[Run], engine: str, precision: str) -> Iterator[Networks]:
    """The runs' networks on an engine, or, on `rounding`, operation by operation."""
    if engine != "rounding":
        with opened(runs, engine, precision) as networks:
            yield networks
        return
    files = {run.network: onnx.load(run.path / f"{precision}.onnx") for run in runs}
    yield found_in({name: onnx_infer(rounded(model)) for name, model in files.items()})


def candidates(path: Path) -> Array:
    """The reference's candidates (n, 4): x, y, z in mm and nodule probability."""
    found = json.loads(path.read_text())["candidates"]
    return np.array([[*one["center_xyz"], one["nodule_probability"]] for one in found])


def cells_of(answer: Tensors, reference: Array, annotated: Array) -> list[str]:
    """The table's cells on candidates and annotated nodules."""
    found = answer["nodules"][:, [0, 1, 2, PROBABILITY]]
    likely, expected = found[found[:, 3] > 0.5], reference[reference[:, 3] > 0.5]
    near = distances(reference, found)
    matched = near.min(axis=1) < NEAR_MM
    change = np.abs(found[near.argmin(axis=1), 3] - reference[:, 3])[matched].max()
    lost = int((distances(expected, likely).min(axis=1, initial=np.inf) >= NEAR_MM).sum())
    gained = int((distances(likely, expected).min(axis=1, initial=np.inf) >= NEAR_MM).sum())
    return [str(len(likely)), f"{lost} of {len(expected)}", str(gained), f"{change:.4f}", ranks(found, annotated)]


def ranks(found: Array, annotated: Array) -> str:
    """Each annotated nodule's nearest candidate: its rank by probability, and how far it lies."""
    far = distances(annotated, found)
    order = sorted((int(row.argmin()) + 1, float(row.min())) for row in far)
    return ", ".join(f"{rank} ({distance:.1f})" for rank, distance in order)


def distances(these: Array, those: Array) -> Array:
    """Distances (n, m) in mm between places (n, 3+) and (m, 3+)."""
    return np.linalg.norm(these[:, None, WORLD] - those[None, :, WORLD], axis=2)


if __name__ == "__main__":
    main()
