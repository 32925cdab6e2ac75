"""The checks of a folder in LUNA16's layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from medseg.data.check import Inspected, problems_of, read_cases
from medseg.data.volume import read_volume
from medseg.errors import InputError
from medseg.metrics.finding import Finding
from medseg.tasks.luna.reader import read
from medseg.tasks.luna.tables import findings, scans

TABLES = {  # and the column whose numbers count
    "annotations.csv": "diameter_mm",
    "candidates.csv": "class",
    "annotations_excluded.csv": "diameter_mm",
    "annotations_with_malignancy.csv": "mal_bool",
}
OPTIONAL = ("annotations_excluded.csv", "annotations_with_malignancy.csv")


def inspect(directory: Path) -> Iterator[Inspected]:
    """The tables, then every scan with its nodules' mask, or with what is wrong with it."""
    paths = {name: directory / name for name in TABLES if name not in OPTIONAL or (directory / name).is_file()}
    broken = problems_of(partial(findings, path, TABLES[name]) for name, path in paths.items())
    yield Inspected(None, (), [*broken, *_twice(directory)])
    rows = {} if broken else {path: findings(path, TABLES[name]) for name, path in paths.items()}
    for series, path in scans(directory).items():
        own = {table: [row for row in found if row.series == series] for table, found in rows.items()}
        problems = [problem for table, found in own.items() for problem in _outside(path, table, found)]
        yield read_cases(series, partial(read, directory, series), problems) if rows else Inspected(series)


def _twice(directory: Path) -> Iterator[str]:
    paths = sorted(directory.glob("subset*/*.mhd"))
    counts = Counter(path.stem for path in paths)
    for path in paths:
        if counts[path.stem] > 1:
            yield f"{path}: its series lies in {counts[path.stem]} subsets; expected one: remove the others"


def _outside(scan: Path, table: Path, rows: list[Finding]) -> list[str]:
    """The rows of a scan that lie outside of it, or what makes the scan unreadable."""
    if not rows:
        return []
    try:
        volume = read_volume(scan)
    except InputError:
        return []  # reading the case will report it, once
    voxels = volume.geometry.nearest_voxel(np.array([row.xyz_mm for row in rows]))
    inside = np.all((voxels >= 0) & (voxels < np.array(volume.array.shape)), axis=1).tolist()
    return [
        f"{table}: {row.xyz_mm} mm lies outside of {scan}: correct the row, or the scan's origin and direction"
        for row, within in zip(rows, inside, strict=True)
        if not within
    ]
