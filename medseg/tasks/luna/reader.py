"""LUNA16's files as cases and as samples for its three networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from medseg.data.cache import build, cache_folder, fingerprint
from medseg.data.samples import Sample, Samples
from medseg.data.split import Split, every_nth
from medseg.data.upright import orientation_of
from medseg.data.volume import Volume, read_volume
from medseg.metrics.finding import Finding
from medseg.task import Array, Case, Tensors, Unread
from medseg.tasks.luna.crops import CONTEXT, CROP, clipped, context_slices, crop, nodule_box, nodule_mask
from medseg.tasks.luna.pipeline import geometry_tensor
from medseg.tasks.luna.tables import candidates, malignancies, nodules, scan_path, scans

_SEEN = "as the pipeline sees it"  # what the cached pieces are cut from; earlier ones were cut as stored
CUT_OUT = (96, 96)  # rows and columns around a nodule; a fit crops 64 x 64 of it at random

Centres = tuple[tuple[float, float, float], ...]  # world coordinates in mm


def patients(directory: Path) -> Sequence[str]:
    """The UIDs of a folder's scans, sorted."""
    return list(scans(directory))


def read(directory: Path, patient: str) -> Sequence[Case]:
    """One scan as the only case: (index, row, col) int16 HU, and its nodules' mask, grown from the annotations."""
    volume = read_volume(scan_path(directory, patient))
    centres = [row.xyz_mm for row in nodules(directory) if row.series == patient]
    return [Case(patient, volume.array, nodule_mask(volume.array, _voxels(volume, centres)), volume.geometry)]


def cases(directory: Path, patient: str) -> list[Unread]:
    """The patient's case, and how to ask about it: to list every candidate, however improbable."""
    path = scan_path(directory, patient)
    files = tuple(sorted(file for file in path.parent.glob(f"{path.stem}.*") if file.is_file()))
    known = (directory / "annotations.csv").is_file()
    return [Unread(patient, partial(_asked, path), files, patient, known)]


def _asked(path: Path) -> Tensors:
    volume = read_volume(path)
    threshold = np.zeros(1, np.float32)
    return {"ct": volume.array, "geometry": geometry_tensor(volume.geometry), "threshold": threshold}


def segment_samples(directory: Path, patients: Sequence[str]) -> Samples:
    """Slices through nodules, cut out around them: (7, 96, 96) float32 HU and (1, 96, 96) uint8."""
    wanted = set(patients)
    rows = [row for row in nodules(directory) if row.series in wanted]
    shelf = _shelf(directory, rows, cut_outs, "cutting slices")
    places = [(path, place) for path in shelf.values() for place in range(len(np.load(path, mmap_mode="r")))]
    series = [series for series, path in shelf.items() for _ in np.load(path, mmap_mode="r")]
    foreground = [np.count_nonzero(np.load(path, mmap_mode="r")[place, -1] > 0) for path, place in places]
    return Samples(partial(_segment_sample, tuple(places)), tuple(series), np.array(foreground, float))


def nodule_samples(directory: Path, patients: Sequence[str]) -> Samples:
    """Crops around candidates: (1, 32, 48, 48) float32 HU, and class 1 for a nodule, 0 for none."""
    return _crop_samples(directory, candidates(directory, patients))


def malignancy_samples(directory: Path, patients: Sequence[str]) -> Samples:
    """Crops around nodules: (1, 32, 48, 48) float32 HU, and class 1 for a malignant, 0 for a benign one."""
    return _crop_samples(directory, malignancies(directory, patients))


def split(directory: Path, _seed: int = 0, fold: int = 0) -> Split:
    """Ten to one, as in the reference: every tenth scan validates, whatever the seed; `fold` 0 to 9 moves the start."""
    return every_nth(patients(directory), 10, fold)


def crops(path: Path, centres: Centres) -> Array:
    """Crops around these places of a scan: (n, 32, 48, 48) int16 HU."""
    seen, voxels = _seen(read_volume(path), centres)
    return np.stack([crop(seen, centre, CROP) for centre in voxels])


def cut_outs(path: Path, centres: Centres) -> Array:
    """Every slice through these nodules, cut out: (n, 8, 96, 96) int16; 7 context slices in HU, then the truth."""
    seen, voxels = _seen(read_volume(path), centres)
    truth = nodule_mask(seen, voxels)
    found = [np.zeros((0, 2 * CONTEXT + 2, *CUT_OUT), np.int16)]
    for centre in voxels:
        for index in range(*nodule_box(seen, centre)[0].indices(len(truth))):
            layers = np.concatenate([context_slices(seen, index), truth[index : index + 1]])
            found.append(crop(layers, (CONTEXT + 1, *centre[1:]), (len(layers), *CUT_OUT))[None])
    return np.concatenate(found).astype(np.int16)


def _seen(volume: Volume, centres: Iterable[tuple[float, float, float]]) -> tuple[Array, Array]:
    """A scan the way the pipeline shows it to its networks, and the voxels of these places in it."""
    turn = orientation_of(volume.geometry)
    return turn.seen(volume.array), turn.seen_voxels(_voxels(volume, centres), volume.array.shape)


def _voxels(volume: Volume, centres: Iterable[tuple[float, float, float]]) -> Array:
    places = np.array(list(centres), float).reshape(-1, 3)
    return np.clip(volume.geometry.nearest_voxel(places), 0, np.asarray(volume.array.shape) - 1)


def _crop_samples(directory: Path, rows: list[Finding]) -> Samples:
    rows = sorted(rows, key=lambda row: row.series)
    shelf = _shelf(directory, rows, crops, "cropping candidates")
    places = [(shelf[series], place) for series, group in _by_series(rows) for place in range(len(group))]
    classes = tuple(int(row.value) for row in rows)
    load = partial(_crop_sample, tuple(places), classes)
    return Samples(load, tuple(row.series for row in rows), np.array(classes, float))


def _shelf(directory: Path, rows: list[Finding], make: Callable[..., Array], title: str) -> dict[str, Path]:
    """One memory-mappable file for each scan that has rows, made now where it is not there yet."""
    known = scans(directory)
    jobs, shelf = {}, {}
    for series, group in _by_series(rows):
        scan = known.get(series) or scan_path(directory, series)
        centres = tuple(row.xyz_mm for row in group)
        name = f"{make.__name__}-{fingerprint(scan, centres, CROP, CUT_OUT, CONTEXT, _SEEN)}.npy"
        shelf[series] = cache_folder() / "luna" / name
        jobs[shelf[series]] = (scan, centres)
    build(make, jobs, title)
    return shelf


def _by_series(rows: Iterable[Finding]) -> list[tuple[str, list[Finding]]]:
    ordered = sorted(rows, key=lambda row: row.series)
    return [(series, list(group)) for series, group in groupby(ordered, key=lambda row: row.series)]


def _crop_sample(places: tuple[tuple[Path, int], ...], classes: tuple[int, ...], index: int) -> Sample:
    path, place = places[index]
    return clipped(np.load(path, mmap_mode="r")[None, place]), classes[index]


def _segment_sample(places: tuple[tuple[Path, int], ...], index: int) -> Sample:
    path, place = places[index]
    layers = np.load(path, mmap_mode="r")[place]
    return clipped(layers[:-1]), (layers[-1:] > 0).astype(np.uint8)  # air is where a small scan was padded
