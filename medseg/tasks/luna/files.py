"""LUNA's files: a CT as a request, and the answer as nodules.csv, nodules.json, a mask and a picture."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from medseg.data.segmentation import obstacle, write_segmentation
from medseg.data.series import Found, found
from medseg.data.volume import Volume, write_mask
from medseg.files import present, whole_file
from medseg.task import Array, Reading, Request, Source, Tensors
from medseg.tasks.luna.picture import draw
from medseg.tasks.luna.pipeline import MALIGNANCY_COLUMN, NODULE_COLUMNS, geometry_tensor, mask_from_bits

_FILES = ("nodules.csv", "nodules.json", "mask.nii.gz", "nodules.png", "mask.dcm")


def sources(path: Path, reading: Reading) -> list[Source]:
    """Every CT in a path: volumes' files, DICOM series, a zip of them."""
    return [Source(one.path, one.name, partial(_request, one)) for one in found(path, reading)]


def answered(_: str, folder: Path) -> list[Path]:
    """The files of an earlier answer in the folder."""
    return present(folder, _FILES)


def _request(found_one: Found) -> Request:
    volume = _with_note(found_one.load())
    return Request(volume.name, {"ct": volume.array, "geometry": geometry_tensor(volume.geometry)}, volume)


def nodules(table: Array) -> list[dict[str, Any]]:
    """The rows of the answer's table with their columns' names."""
    names = (*NODULE_COLUMNS, MALIGNANCY_COLUMN)[: table.shape[1]]
    return [dict(zip(names, row, strict=True)) for row in table.tolist()]


def write(request: Request, answer: Tensors, folder: Path) -> list[Path]:
    """Write nodules.csv, nodules.json, the candidates' mask in the CT's geometry and nodules.png; their paths.

    Of a DICOM series the mask is also written as its segmentation object, mask.dcm, where that can refer to the slices.
    """
    volume: Volume = request.source
    rows = nodules(answer["nodules"])
    mask = mask_from_bits(answer["mask"], volume.array.shape)
    paths = [folder / name for name in _FILES[:4]]
    columns = (*NODULE_COLUMNS, MALIGNANCY_COLUMN)[: answer["nodules"].shape[1]]
    with whole_file(paths[0]) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({name: f"{value:.6f}" for name, value in row.items()} for row in rows)
    with whole_file(paths[1]) as temporary:
        temporary.write_text(json.dumps({"nodules": rows, "notes": volume.notes}, indent=2) + "\n")
    write_mask(paths[2], mask.view("uint8"), volume.geometry)
    draw(paths[3], volume, mask, rows)
    files = list(volume.files)
    if files and not obstacle(files):
        paths.append(folder / _FILES[4])
        write_segmentation(paths[-1], mask, files, volume.geometry, "Lung nodule candidates")
    return paths


def _with_note(volume: Volume) -> Volume:
    """The volume, with a note where no segmentation object of it can be written."""
    reason = obstacle(volume.files) if volume.is_dicom else ""
    return replace(volume, notes=(*volume.notes, f"{volume.path}: no mask.dcm, {reason}")) if reason else volume
