"""A volume: its voxels in HU, where they lie in the patient, and what was read to get them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.task import Array, Geometry

SUFFIXES = (".mhd", ".mha", ".nrrd", ".nhdr", ".nii", ".nii.gz")


@dataclass(frozen=True)
class Volume:
    """A volume (index, row, col) int16 (CT: HU) and where it lies in the patient."""

    path: Path  # the file, or the folder of the slices
    array: Array
    geometry: Geometry
    notes: tuple[str, ...] = ()  # what reading had to decide, round or leave out
    files: tuple[Path, ...] = ()  # of DICOM: each slice's file, in the array's order; of a multi-frame object the one
    frames: tuple[int, ...] = ()  # of a multi-frame object: each slice's frame in it, from 0
    series: str = ""  # of DICOM: "series 3", by its number; nothing of the patient
    label: str = ""  # a name that tells it from its neighbours, where the path's own does not
    kept: Any = None  # what has to live as long: the folder that a zip was unpacked into

    @property
    def name(self) -> str:
        """The file's or folder's name without its suffix: for LUNA the series' UID."""
        return self.label or stem(self.path)

    @property
    def is_dicom(self) -> bool:
        """Whether it was read from DICOM files."""
        return bool(self.files)


def is_volume_file(path: Path) -> bool:
    """Whether its suffix is that of a file which holds a whole volume."""
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """The path's name without the suffix of a volume, an archive or a DICOM file."""
    name = path.name or path.resolve().name
    lower = name.lower()
    for suffix in sorted((*SUFFIXES, ".zip", ".dcm"), key=len, reverse=True):
        if lower.endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name
