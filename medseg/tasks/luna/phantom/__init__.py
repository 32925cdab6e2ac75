"""Made-up chest CTs in LUNA16's layout: bodies with lungs, vessels and nodules whose places are known."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import scipy

from medseg.task import IDENTITY_DIRECTION, Array, Geometry
from medseg.tasks.luna.phantom.chest import Chest, chest
from medseg.tasks.luna.phantom.nodules import Nodule, nodules_in, paint_nodule
from medseg.tasks.luna.phantom.vessels import Tree, grow, paint_vessels

SHAPE = (48, 192, 192)  # index, row, col
FLIPPED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)  # some LUNA scans lie with x and y reversed
FAR_MM = 10.0  # from a nodule's surface: closer places are not used as negative examples
MALIGNANT_MM = 11.0  # a rule that a network can learn: larger nodules are malignant
BLUR = (0.4, 0.6, 0.6)  # of a scanner, in voxels; its noise goes through it as well
NOISE_HU, DEEP_MM = 55, 60.0  # before the blur; strongest where rays have come through most of the body
HEADS = {
    "annotations": "seriesuid,coordX,coordY,coordZ,diameter_mm",
    "annotations_excluded": "seriesuid,coordX,coordY,coordZ,diameter_mm",
    "candidates": "seriesuid,coordX,coordY,coordZ,class",
    "annotations_with_malignancy": "seriesuid,coordX,coordY,coordZ,diameter_mm,mal_bool,mal_details,bboxLowX,bboxLowY,"
    "bboxLowZ,bboxHighX,bboxHighY,bboxHighZ,len_mal_details",
}
Row = list[object]


def phantom(directory: Path, patients: int, seed: int) -> None:
    """Write made-up scans to `directory/subset0`, and LUNA16's four tables; the same seed makes the same bytes."""
    (directory / "subset0").mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[Row]] = {name: [] for name in HEADS}
    for number in range(patients):
        rng = np.random.default_rng((seed, number))
        uid = f"2.25.{1_000_000 * (seed + 1) + number}"  # the root of UIDs that are made from a number
        geometry = _geometry(rng)
        body = chest(rng, SHAPE, geometry.spacing_mm[::-1])
        nodules = nodules_in(rng, body)
        trees = grow(rng, body, nodules)
        hu = _scanned(rng, body, nodules, trees)
        _write_scan(directory / "subset0" / f"{uid}.mhd", hu, geometry, flipped=number % 3 == 2)
        for name, rows in _rows(rng, body, nodules, trees, geometry).items():
            tables[name] += [[uid, *row] for row in rows]
    for name, rows in tables.items():
        _write_table(directory / f"{name}.csv", HEADS[name].split(","), rows)


def _geometry(rng: np.random.Generator) -> Geometry:
    in_plane = round(rng.uniform(1.1, 1.3), 4)
    spacing = (in_plane, in_plane, round(rng.uniform(2.3, 2.7), 2))
    corner = -np.asarray(SHAPE[::-1]) / 2 * spacing + rng.uniform(-20, 20, 3)
    return Geometry(spacing, (float(corner[0]), float(corner[1]), float(corner[2])), IDENTITY_DIRECTION)


def _scanned(rng: np.random.Generator, body: Chest, nodules: Sequence[Nodule], trees: Sequence[Tree]) -> Array:
    """The scan: (index, row, col) int16 HU, with a scanner's blur, and noise that grows towards the body's middle."""
    paint_vessels(body, trees)
    for nodule in nodules:
        paint_nodule(rng, body, nodule)
    deep = np.exp(-(body.axes[1] ** 2 + body.axes[2] ** 2) / (2 * DEEP_MM**2))
    noise = rng.standard_normal(SHAPE, np.float32) * (NOISE_HU * (0.5 + 0.8 * deep))
    seen = scipy.ndimage.gaussian_filter(body.hu + noise, BLUR, truncate=2)
    return seen.clip(-1024, 3071).astype(np.int16)


def _rows(
    rng: np.random.Generator, body: Chest, nodules: Sequence[Nodule], trees: Sequence[Tree], geometry: Geometry
) -> dict[str, list[Row]]:
    """The tables' rows of one scan, without its UID."""

    def world(places_mm: Array) -> Array:
        middle = (np.asarray(SHAPE) - 1) / 2
        return geometry.world_from_voxel(places_mm / geometry.spacing_mm[::-1] + middle)

    centres = world(np.array([nodule.centre for nodule in nodules]))
    sizes = [2 * nodule.radius for nodule in nodules]
    forks = world(_far(rng.permutation(np.concatenate([tree.forks for tree in trees])), nodules))
    elsewhere = world(_elsewhere(rng, body, nodules))
    hits = centres + rng.normal(0, 0.6, centres.shape)
    return {
        "annotations": [[*xyz, size] for xyz, size in zip(centres, sizes, strict=True)],
        "annotations_excluded": [[*xyz, -1] for xyz in forks[:4]],
        "candidates": [[*xyz, 1] for xyz in hits] + [[*xyz, 0] for xyz in (*forks[4:44], *elsewhere)],
        "annotations_with_malignancy": [_votes(xyz, size) for xyz, size in zip(centres, sizes, strict=True)],
    }


def _elsewhere(rng: np.random.Generator, body: Chest, nodules: Sequence[Nodule]) -> Array:
    """Places in the lungs and just outside them, (n, 3) in mm."""
    extent = np.array([np.abs(axis).max() for axis in body.axes])
    places = _far(rng.uniform(-1, 1, (400, 3)) * extent, nodules)
    depth = body.depth(places)
    return np.concatenate([places[depth > 1][:16], places[(depth < -1) & (depth > -6)][:8]])


def _far(places: Array, nodules: Sequence[Nodule]) -> Array:
    """Those of the places (n, 3) in mm that are clearly not part of a nodule."""
    away = [np.linalg.norm(places - nodule.centre, axis=1) - nodule.radius for nodule in nodules]
    return places[np.min(away, axis=0) > FAR_MM]


def _votes(xyz: Array, diameter_mm: float) -> Row:
    """A nodule's row with four readers' votes of 1 to 5, and its bounding box in world coordinates."""
    malignant = diameter_mm > MALIGNANT_MM
    votes = [4, 5, 4, 3] if malignant else [2, 1, 2, 3]
    return [*xyz, diameter_mm, malignant, str(votes), *(xyz - diameter_mm / 2), *(xyz + diameter_mm / 2), len(votes)]


def _write_scan(path: Path, hu: Array, geometry: Geometry, flipped: bool) -> None:
    """Write a scan that lies upright as it is or, flipped, turned by half a circle around the patient's axis."""
    import SimpleITK

    last = geometry.world_from_voxel(np.array([[0, *np.asarray(hu.shape[1:]) - 1]]))[0]
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(hu[:, ::-1, ::-1]) if flipped else hu)
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(last.tolist() if flipped else geometry.origin_mm)
    image.SetDirection(FLIPPED if flipped else geometry.direction)
    SimpleITK.WriteImage(image, str(path))


def _write_table(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)
