"""A volume: its voxels, where they lie in the patient, and the files that they came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.task import Array, Geometry

SUFFIXES = (".mhd", ".mha", ".nrrd", ".nhdr", ".nii", ".nii.gz")


@dataclass(frozen=True)
class Volume:
    """A volume (index, row, col) and where it lies in the patient. Values are int16 HU, or float32 of any modality."""

    path: Path  # the file, or the folder of the slices
    array: Array
    geometry: Geometry
    notes: tuple[str, ...] = ()  # what reading had to decide, round or leave out
    files: tuple[Path, ...] = ()  # DICOM only: each slice's file in the array's order, or the one multi-frame file
    frames: tuple[int, ...] = ()  # multi-frame objects only: each slice's frame, from 0
    series: str = ""  # DICOM only: the series' number, as in "series 3"; nothing about the patient
    label: str = ""  # a unique name, where the path's own name is not enough
    kept: Any = None  # an object that must live as long as the volume: the folder of an unpacked zip

    @property
    def name(self) -> str:
        """The label, else the file's or folder's name without its suffix; for LUNA this is the series' UID."""
        return self.label or stem(self.path)

    @property
    def is_dicom(self) -> bool:
        """Whether it was read from DICOM files."""
        return bool(self.files)


def is_volume_file(path: Path) -> bool:
    """Whether the path has a suffix of a format that holds a whole volume."""
    return path.name.lower().endswith(SUFFIXES)


def stem(path: Path) -> str:
    """The path's name without the suffix of a volume, an archive or a DICOM file."""
    name = path.name or path.resolve().name
    lower = name.lower()
    for suffix in sorted((*SUFFIXES, ".zip", ".dcm"), key=len, reverse=True):
        if lower.endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name
