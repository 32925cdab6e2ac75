"""LUNA on a whole real CT in several precisions: masks, the list of nodules and the annotated nodules' ranks.

    python -m benchmarks.luna_precisions DATA --segment RUN --nodule RUN --reference DATA/reference

DATA is a LUNA folder with one scan and its annotations.csv. The runs hold a file of every precision; `medseg export
--lost 1000` makes them even if the list would be refused. The reference is the answer of the authors' chain to that
scan, as JSON. Prints one Markdown table: every precision compared with fp32, and the verdict of `medseg export` on its
list. `--engine judging` does as the export: it rounds the result of every operation of fp16 files, and opens all other
files in OpenVINO.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import numpy as np

from medseg.data.volume import read_volume
from medseg.engines.runs import found_in, opened
from medseg.export.lists import as_judged, changes
from medseg.metrics.overlap import dice
from medseg.run import Run
from medseg.task import Array, Networks, Tensors
from medseg.tasks import task_named
from medseg.tasks.luna.listing import LISTING
from medseg.tasks.luna.pipeline import geometry_tensor, mask_from_bits
from medseg.tasks.luna.tables import nodules, scans

WORLD, PROBABILITY = slice(0, 3), 7  # columns of the pipeline's table
HEAD = (
    "| precision | mask Dice to fp32 | listed | of fp32's kept | lost | gained | largest change of a probability | "
    "verdict | of the authors' lost | annotated nodules: rank (distance in mm) | seconds |",
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: | --- | ---: |",
)


def main() -> None:
    """Run the chain in every precision and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--segment", type=Path, required=True)
    parser.add_argument("--nodule", type=Path, required=True)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "fp16", "bf16", "int8"])
    parser.add_argument("--engine", default="judging")
    asked = parser.parse_args()
    ((series, path),) = scans(asked.data).items()
    authors = candidates(asked.reference / f"{series}.json") if asked.reference else None
    annotated = np.array([row.xyz_mm for row in nodules(asked.data) if row.series == series])
    volume = read_volume(path)
    tensors = {"ct": volume.array, "geometry": geometry_tensor(volume.geometry), "threshold": np.zeros(1, np.float32)}
    print(*HEAD, sep="\n")
    full: tuple[Array, Array] | None = None
    for precision in asked.precisions:
        started = perf_counter()
        with networks_of([Run(asked.segment), Run(asked.nodule)], asked.engine, precision) as networks:
            answer = task_named("luna").pipeline(tensors, networks)
        mask, found = mask_from_bits(answer["candidates"], volume.array.shape), listed(answer)
        full = full or (mask, found)
        cells = [precision, f"{dice(mask, full[0]):.5f}", *beside_full(full[1], found)]
        cells += [lost_of(authors, found), ranks(found, annotated), f"{perf_counter() - started:.0f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


@contextmanager
def networks_of(runs: list[Run], engine: str, precision: str) -> Iterator[Networks]:
    """The runs' networks in an engine, or as an export runs them to judge them."""
    if engine != "judging":
        with opened(runs, engine, precision) as networks:
            yield networks
        return
    yield found_in({run.network: as_judged(run.path / f"{precision}.onnx", precision) for run in runs})


def candidates(path: Path) -> Array:
    """The authors' candidates (n, 4): x, y, z in mm and nodule probability."""
    found = json.loads(path.read_text())["candidates"]
    return np.array([[*one["center_xyz"], one["nodule_probability"]] for one in found])


def listed(answer: Tensors) -> Array:
    """Every candidate of an answer (n, 4): x, y, z in mm and nodule probability, the most probable first."""
    return answer["nodules"][:, [0, 1, 2, PROBABILITY]]


def beside_full(full: Array, found: Array) -> list[str]:
    """The table's cells about the list, compared with fp32's."""
    change = changes(full, found, LISTING.threshold, LISTING.near_mm)
    count, kept = int((found[:, 3] >= LISTING.threshold).sum()), change.listed - change.lost
    verdict = f"refused: {change.lost} lost, none may be" if change.lost else "recorded"
    counts = [str(count), f"{kept} of {change.listed}", str(change.lost), str(change.gained)]
    return [*counts, f"{change.probability_change:.4f}", verdict]


def lost_of(authors: Array | None, found: Array) -> str:
    """How many of the authors' listed candidates are not listed."""
    if authors is None:
        return "-"
    change = changes(authors, found, LISTING.threshold, LISTING.near_mm)
    return f"{change.lost} of {change.listed}"


def ranks(found: Array, annotated: Array) -> str:
    """Each annotated nodule's nearest candidate: its rank by probability, and its distance in mm."""
    far = distances(annotated, found)
    order = sorted((int(row.argmin()) + 1, float(row.min())) for row in far)
    return ", ".join(f"{rank} ({distance:.1f})" for rank, distance in order)


def distances(these: Array, those: Array) -> Array:
    """Distances (n, m) in mm between places (n, 3+) and (m, 3+)."""
    return np.linalg.norm(these[:, None, WORLD] - those[None, :, WORLD], axis=2)


if __name__ == "__main__":
    main()
