"""Made-up chest CTs in LUNA16's layout: a body, two lungs, vessels and nodules whose places are known."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.data.phantom import around, ellipsoid, grid_mm, paint, tube
from medseg.task import IDENTITY_DIRECTION, Array, Geometry

SHAPE = (48, 192, 192)  # index, row, col
FLIPPED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)  # some LUNA scans lie with x and y reversed
EDGE_MM = 1.5
CLEARANCE_MM = 9.0  # between a nodule and a vessel: several slices, so that a network of few epochs parts them
MALIGNANT_MM = 11.0  # a rule that a network can learn: larger nodules are malignant
BODY_HU, FAT_HU, LUNG_HU, BONE_HU, VESSEL_HU, NODULE_HU = 40, -100, -870, 500, 20, 50
HEADS = {
    "annotations": "seriesuid,coordX,coordY,coordZ,diameter_mm",
    "annotations_excluded": "seriesuid,coordX,coordY,coordZ,diameter_mm",
    "candidates": "seriesuid,coordX,coordY,coordZ,class",
    "annotations_with_malignancy": "seriesuid,coordX,coordY,coordZ,diameter_mm,mal_bool,mal_details,bboxLowX,bboxLowY,"
    "bboxLowZ,bboxHighX,bboxHighY,bboxHighZ,len_mal_details",
}
Row = list[object]


@dataclass(frozen=True)
class _Anatomy:
    """What one made-up chest holds, in mm from the middle of the scan, axes in array order (z, y, x)."""

    lungs: tuple[tuple[Array, Array], ...]  # centre and radii
    nodules: tuple[tuple[Array, float], ...]  # centre and radius
    vessels: tuple[tuple[Array, Array, float], ...]  # start, end and radius


def phantom(directory: Path, patients: int, seed: int) -> None:
    """Write made-up scans to `directory/subset0`, and LUNA16's four tables; the same seed makes the same bytes."""
    (directory / "subset0").mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[Row]] = {name: [] for name in HEADS}
    for number in range(patients):
        rng = np.random.default_rng((seed, number))
        uid = f"2.25.{1_000_000 * (seed + 1) + number}"  # the root of UIDs that are made from a number
        geometry = _geometry(rng, flipped=number % 3 == 2)
        anatomy = _anatomy(rng, np.asarray(SHAPE) * geometry.spacing_mm[::-1])
        _write_scan(directory / "subset0" / f"{uid}.mhd", _hounsfield(rng, anatomy, geometry), geometry)
        for name, rows in _rows(rng, anatomy, geometry).items():
            tables[name] += [[uid, *row] for row in rows]
    for name, rows in tables.items():
        _write_table(directory / f"{name}.csv", HEADS[name].split(","), rows)


def _geometry(rng: np.random.Generator, flipped: bool) -> Geometry:
    in_plane = round(rng.uniform(1.1, 1.3), 4)
    spacing = (in_plane, in_plane, round(rng.uniform(2.3, 2.7), 2))
    corner = -np.asarray(SHAPE[::-1]) / 2 * spacing + rng.uniform(-20, 20, 3)
    corner = corner * (-1, -1, 1) if flipped else corner
    origin_mm = (float(corner[0]), float(corner[1]), float(corner[2]))
    return Geometry(spacing, origin_mm, FLIPPED if flipped else IDENTITY_DIRECTION)


def _anatomy(rng: np.random.Generator, extent_mm: Array) -> _Anatomy:
    radii = extent_mm * (0.46, 0.26, 0.155)
    lungs = tuple((np.array([0.0, 0.0, side * extent_mm[2] * 0.2]), radii) for side in (-1, 1))
    nodules = _nodules(rng, lungs)
    near = [_vessel_beside(rng, *nodule) for nodule in nodules[:2]]
    far = [vessel for lung in lungs for vessel in _vessels(rng, *lung) if _clear_of(vessel, nodules)]
    return _Anatomy(lungs, tuple(nodules), tuple(near + far))


def _nodules(rng: np.random.Generator, lungs: Sequence[tuple[Array, Array]]) -> list[tuple[Array, float]]:
    """Three to five balls of 6 to 20 mm in the lungs, well apart: centres and radii; at least one small, one large."""
    found: list[tuple[Array, float]] = []
    diameters = [rng.uniform(6, 10), rng.uniform(12, 20), *rng.uniform(6, 20, rng.integers(1, 4))]
    for number, radius in enumerate(np.array(diameters) / 2):
        middle, radii = lungs[number % 2]
        while True:
            centre = middle + rng.uniform(-1, 1, 3) * radii
            inside = (((centre - middle) / (radii - radius - 3)) ** 2).sum() < 1
            if inside and all(np.linalg.norm(centre - other) > radius + more + 12 for other, more in found):
                break
        found.append((centre, float(radius)))
    return found


def _vessels(rng: np.random.Generator, centre: Array, radii: Array) -> list[tuple[Array, Array, float]]:
    """Straight vessels that leave the hilum, the lung's inner side, and fork once."""
    hilum = centre * (1, 1, 0.62)
    found = []
    for _ in range(14):
        direction = rng.normal(size=3)
        fork = centre + direction / np.linalg.norm(direction) * radii * 0.5
        found.append((hilum, fork, float(rng.uniform(1.8, 2.8))))
        for _ in range(2):
            tip = fork + (fork - hilum) * 0.45 + rng.normal(size=3) * 8
            found.append((fork, tip, float(rng.uniform(1.2, 1.8))))
    return [(start, end, radius) for start, end, radius in found if ((((end - centre) / radii) ** 2).sum() < 0.9)]


def _vessel_beside(rng: np.random.Generator, centre: Array, radius: float) -> tuple[Array, Array, float]:
    side, along = rng.normal(size=(2, 3))
    side /= np.linalg.norm(side)
    along -= side * (along @ side)
    along *= 12 / np.linalg.norm(along)
    foot = centre + side * (radius + CLEARANCE_MM)
    return foot - along, foot + along, 1.5


def _clear_of(vessel: tuple[Array, Array, float], nodules: Iterable[tuple[Array, float]]) -> bool:
    start, end, width = vessel
    return all(tube(centre, start, end, width) > radius + CLEARANCE_MM for centre, radius in nodules)


def _hounsfield(rng: np.random.Generator, anatomy: _Anatomy, geometry: Geometry) -> Array:
    """The scan: (index, row, col) int16 HU, with the noise of a low dose."""
    spacing = geometry.spacing_mm[::-1]
    grid, extent = grid_mm(SHAPE, spacing), np.asarray(SHAPE) * spacing
    hu = np.full(SHAPE, -1000, np.float32)
    paint(hu, ellipsoid(grid, np.zeros(3), np.array([np.inf, extent[1] * 0.38, extent[2] * 0.45])), FAT_HU, EDGE_MM)
    paint(hu, ellipsoid(grid, np.zeros(3), np.array([np.inf, extent[1] * 0.34, extent[2] * 0.41])), BODY_HU, EDGE_MM)
    paint(hu, ellipsoid(grid, np.array([0, extent[1] * 0.25, 0]), np.array([np.inf, 14, 16])), BONE_HU, EDGE_MM)
    for centre, radii in anatomy.lungs:
        paint(hu, ellipsoid(grid, centre, radii), LUNG_HU, EDGE_MM)
    for start, end, radius in anatomy.vessels:
        part = around(grid, np.minimum(start, end) - radius - 2, np.maximum(start, end) + radius + 2)
        paint(hu[part], tube(grid[:, *part], start, end, radius), VESSEL_HU, EDGE_MM)
    for centre, radius in anatomy.nodules:
        part = around(grid, centre - radius - 2, centre + radius + 2)
        paint(hu[part], ellipsoid(grid[:, *part], centre, np.full(3, radius)), NODULE_HU, EDGE_MM)
    return (hu + rng.normal(0, 20, SHAPE)).clip(-1024, 3071).astype(np.int16)


def _rows(rng: np.random.Generator, anatomy: _Anatomy, geometry: Geometry) -> dict[str, list[Row]]:
    """The tables' rows of one scan, without its UID."""

    def world(centres_mm: Iterable[Array]) -> Array:
        middle = (np.asarray(SHAPE) - 1) / 2
        return geometry.world_from_voxel(np.asarray(list(centres_mm)) / geometry.spacing_mm[::-1] + middle)

    nodules = world(centre for centre, _ in anatomy.nodules)
    diameters = [2 * radius for _, radius in anatomy.nodules]
    vessels = world((start + end) / 2 for start, end, _ in anatomy.vessels)
    air = world(centre + rng.uniform(-0.5, 0.5, 3) * radii for centre, radii in anatomy.lungs for _ in range(8))
    hits = nodules + rng.normal(0, 0.6, nodules.shape)
    return {
        "annotations": [[*xyz, size] for xyz, size in zip(nodules, diameters, strict=True)],
        "annotations_excluded": [[*xyz, -1] for xyz in vessels[2:6]],
        "candidates": [[*xyz, 1] for xyz in hits] + [[*xyz, 0] for xyz in (*vessels[6:], *air)],
        "annotations_with_malignancy": [_votes(xyz, size) for xyz, size in zip(nodules, diameters, strict=True)],
    }


def _votes(xyz: Array, diameter_mm: float) -> Row:
    """A nodule's row with four readers' votes of 1 to 5, and its bounding box in world coordinates."""
    malignant = diameter_mm > MALIGNANT_MM
    votes = [4, 5, 4, 3] if malignant else [2, 1, 2, 3]
    return [*xyz, diameter_mm, malignant, str(votes), *(xyz - diameter_mm / 2), *(xyz + diameter_mm / 2), len(votes)]


def _write_scan(path: Path, hu: Array, geometry: Geometry) -> None:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(hu)
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    SimpleITK.WriteImage(image, str(path))


def _write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)
