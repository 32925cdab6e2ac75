"""A volume's answer as files: labels in the image's own geometry and format, numbers, a picture, DICOM-SEG."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medseg.data.grid import png
from medseg.data.segmentation import Segment, write_segmentation
from medseg.data.volume import write_mask
from medseg.data.voxels import stem
from medseg.description import Class, Description
from medseg.errors import InputError
from medseg.files import whole_file
from medseg.task import Array, Request, Tensors
from medseg.tasks.volume.cases import Asked
from medseg.tasks.volume.picture import COLOURS, drawn
from medseg.tasks.volume.statistics import columns, statistics, values_of

_WRITTEN = {".nii.gz": ".nii.gz", ".nii": ".nii", ".mha": ".mha", ".mhd": ".mha", ".nrrd": ".nrrd", ".nhdr": ".nrrd"}
_BESIDE = (".csv", ".json", ".png", ".dcm")


def answered(name: str, folder: Path) -> list[Path]:
    """The files of an earlier answer of this name in the folder."""
    suffixes = (*dict.fromkeys(_WRITTEN.values()), *_BESIDE)
    return [path for suffix in suffixes if (path := folder / f"{name}{suffix}").exists()]


def write(description: Description, request: Request, answer: Tensors, folder: Path) -> list[Path]:
    """Write NAME with the image's suffix (.nii.gz of DICOM), NAME.csv, NAME.json and NAME.png.

    Of a DICOM series each class is also a segment of its segmentation object, NAME.dcm, where it can refer to it.
    """
    asked: Asked = request.source
    mask, name = answer["mask"], request.name
    labels = folder / f"{name}{suffix_of(asked)}"
    write_mask(labels, mask, asked.geometry)
    records = statistics(description, mask, request.tensors["image"], asked.geometry.spacing_mm)
    written, notes = [labels], []
    if asked.volumes[0].is_dicom:
        try:
            _write_segments(folder / f"{name}.dcm", description, asked, mask)
            written.append(folder / f"{name}.dcm")
        except InputError as error:
            notes.append(f"no {name}.dcm: {error}")
    for note in notes:
        request.tell(f"{name}: {note}")
    document = {
        "classes": records,
        "spacing_mm": list(asked.geometry.spacing_mm),
        "shape": list(mask.shape[::-1]),
        "notes": [*asked.notes, *notes],
        "made_by": dict(request.made_by),
    }
    contents = {
        ".csv": _table(description, records).encode(),
        ".json": (json.dumps(document, indent=2) + "\n").encode(),
        ".png": png(drawn(description, asked, mask)),
    }
    for suffix, content in contents.items():
        with whole_file(folder / f"{name}{suffix}") as temporary:
            temporary.write_bytes(content)
        written.append(folder / f"{name}{suffix}")
    return written


def suffix_of(asked: Asked) -> str:
    """The suffix of an answer's labels: the image's own, NIfTI's of DICOM; a header of its own is kept in one file."""
    path = asked.volumes[0].path
    if asked.volumes[0].is_dicom:
        return ".nii.gz"
    return _WRITTEN.get(path.name[len(stem(path)) :].lower(), ".nii.gz")


def _table(description: Description, records: list[dict[str, Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns(description))
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _write_segments(path: Path, description: Description, asked: Asked, mask: Array) -> None:
    """Write each class as a segment. Raises InputError where nothing is found or the slices do not allow it."""
    if any(volume.path != asked.volumes[0].path for volume in asked.volumes):
        raise InputError("its channels are several series; expected one to refer to")
    segments = list(_segments(description))
    write_segmentation(path, mask, asked.volumes[0].files, asked.geometry, segments)


def _segments(description: Description) -> Iterator[Segment]:
    """A segment for each value up to the largest; of regions each is named by the smallest that holds it."""
    most = max(value for one in description.classes for value in values_of(one))
    for value in range(1, most + 1):
        holding = [one for one in description.classes if value in values_of(one)]
        one = min(holding, key=lambda one: len(values_of(one)), default=Class(f"label {value}", value))
        rest = len(values_of(one)) > 1
        colour = one.colour or COLOURS[(value - 1) % len(COLOURS)]
        code = one.codes[0] if one.codes else None
        name = f"{one.name}, the rest" if rest else one.name
        yield Segment(name, colour, (code.value, code.scheme, code.meaning) if code else None)
