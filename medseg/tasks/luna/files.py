"""LUNA's files: a CT as a request, and the answer as nodules.csv, nodules.json, labelled masks and a picture."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.segmentation import Segment, series_of, write_segmentation
from medseg.data.series import Found, found
from medseg.data.volume import Volume, write_mask
from medseg.errors import InputError
from medseg.files import present, whole_file
from medseg.task import Array, Reading, Request, Source, Tensors
from medseg.tasks.luna.picture import draw
from medseg.tasks.luna.pieces import labels
from medseg.tasks.luna.pipeline import MALIGNANCY_COLUMN, NODULE_COLUMNS, geometry_tensor, mask_from_bits

SLICE_COLUMN = "slice"  # of the file as it is stored, counted from 1 as viewers do; center_index counts from 0
NUMBER_COLUMN = "nodule"  # 1 for the most probable; the label in mask.nii.gz and the segment in mask.dcm
_FILES = ("nodules.csv", "nodules.json", "mask.nii.gz", "nodules.png", "candidates.nii.gz", "mask.dcm")
_MOST_SEGMENTS = 1000
_NODULE = ("27925004", "SCT", "Nodule")


def sources(path: Path, reading: Reading) -> list[Source]:
    """Every CT in a path: volumes' files, DICOM series, a zip of them."""
    return [Source(one.path, one.name, partial(_request, one)) for one in found(path, reading)]


def answered(_: str, folder: Path) -> list[Path]:
    """The files of an earlier answer in the folder."""
    return present(folder, _FILES)


def _request(one: Found) -> Request:
    volume = one.load()
    tensors = {"ct": volume.array, "geometry": geometry_tensor(volume.geometry)}
    return Request(volume.name, tensors, volume, geometry=volume.geometry, notes=volume.notes)


def table(answer: Tensors) -> list[dict[str, Any]]:
    """The nodules, most probable first."""
    return nodules(answer["nodules"])


def mask(request: Request, answer: Tensors) -> Array:
    """The listed nodules (index, row, col), each voxel with its nodule's number, 0 elsewhere."""
    return labels(answer["mask"], request.tensors["ct"].shape)


def nodules(table: Array) -> list[dict[str, Any]]:
    """The rows of the answer's table with their columns' names, numbered from 1, and the slice as viewers count."""
    names = (*NODULE_COLUMNS, MALIGNANCY_COLUMN)[: table.shape[1]]
    found = [dict(zip(names, row, strict=True)) for row in table.tolist()]
    return [
        {NUMBER_COLUMN: number, **row, SLICE_COLUMN: round(row["center_index"]) + 1}
        for number, row in enumerate(found, 1)
    ]


def write(request: Request, answer: Tensors, folder: Path) -> list[Path]:
    """Write nodules.csv, nodules.json, mask.nii.gz with each nodule's number in the CT's geometry, and nodules.png.

    Of a DICOM series the nodules are also written as its segmentation object, mask.dcm, where there are any and it can
    refer to the slices. The candidates' mask is written where it is asked for.
    """
    volume: Volume = request.source
    rows = nodules(answer["nodules"])
    labelled = mask(request, answer)
    paths = [folder / name for name in ("nodules.csv", "mask.nii.gz", "nodules.png")]
    columns = (*NODULE_COLUMNS, MALIGNANCY_COLUMN)[: answer["nodules"].shape[1]]
    _write_table(paths[0], rows, (NUMBER_COLUMN, *columns, SLICE_COLUMN))
    write_mask(paths[1], labelled, volume.geometry)
    shown, asked = labelled, "candidates" in request.extras
    if asked or not rows:  # else the candidates would only take memory
        candidates = mask_from_bits(answer["candidates"], labelled.shape)
        shown = labelled if rows else candidates
        if asked:
            paths.append(folder / "candidates.nii.gz")
            write_mask(paths[-1], candidates.view("uint8"), volume.geometry)
    draw(paths[2], volume, shown, rows)
    notes = [note for note in map(bytes.decode, answer["notes"]) if not any(note in one for one in volume.notes)]
    if volume.is_dicom:
        try:
            _write_segments(folder / "mask.dcm", volume, labelled, rows)
            paths.append(folder / "mask.dcm")
        except InputError as error:
            notes.append(f"no mask.dcm: {error}")
    for note in notes:
        request.tell(f"{request.name}: {note}")
    about = {"nodules": rows, "notes": [*volume.notes, *notes], "ct": _identity(volume), "made_by": request.made_by}
    with whole_file(folder / "nodules.json") as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n")
    return [paths[0], folder / "nodules.json", *paths[1:]]


def _identity(volume: Volume) -> dict[str, Any]:
    """Which CT was answered, without anything that identifies a patient."""
    known: dict[str, Any] = {"voxels_sha256": sha256(np.ascontiguousarray(volume.array).data).hexdigest()}
    return known | ({"series": series_of(volume.files[0])} if volume.is_dicom else {})


def _write_table(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    with whole_file(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(
            {name: f"{value:.6f}" if isinstance(value, float) else value for name, value in row.items()} for row in rows
        )


def _write_segments(path: Path, volume: Volume, mask: Array, rows: Sequence[dict[str, Any]]) -> None:
    """Write each nodule as a segment. Raises InputError where there is none, or the slices do not allow it."""
    if not 0 < len(rows) <= _MOST_SEGMENTS:
        raise InputError(f"{len(rows)} nodules are listed; expected 1 to {_MOST_SEGMENTS} for segments")
    segments = [Segment(f"Nodule {row[NUMBER_COLUMN]}", code=_NODULE, abnormal=True) for row in rows]
    write_segmentation(path, mask, volume.files, volume.geometry, segments)
