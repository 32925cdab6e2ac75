"""DICOM-SEG: a mask as the segmentation object of the CT series it was found in, for PACS and viewers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from pydicom.config import disable_value_validation
from pydicom.valuerep import DA, TM

from medseg import __version__
from medseg.errors import InputError
from medseg.files import whole_file
from medseg.task import Array, Geometry

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

_REFERENCES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
_SERIES_NUMBER = 901  # beyond what scanners give their own series


def obstacle(files: Sequence[Path]) -> str:
    """Why no segmentation of these slices can be written, "" where it can."""
    if find_spec("highdicom") is None:
        return "highdicom is not installed: pip install 'medseg[dicom]'"
    with disable_value_validation():
        header = pydicom.dcmread(files[0], stop_before_pixels=True, specific_tags=list(_REFERENCES))
        missing = [name for name in _REFERENCES if not header.get(name)]
    return f"its slices have no {', '.join(missing)}, which a segmentation must refer to" if missing else ""


def write_segmentation(path: Path, mask: Array, files: Sequence[Path], geometry: Geometry, label: str) -> None:
    """Write a mask (index, row, col) as one binary segment over the slices `files`, in the mask's order.

    What was written is read back first: every frame must lie where the geometry says, and hold the mask's pixels.
    Raises InputError where the slices' headers do not allow that.
    """
    from highdicom import UID
    from highdicom.seg import Segmentation

    slices = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    with _unquoted(files[0].parent, slices[0]):
        segmentation = Segmentation(
            source_images=slices,
            pixel_array=mask.astype(np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=[_description(label)],
            series_instance_uid=UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=UID(),
            instance_number=1,
            manufacturer="medseg",
            manufacturer_model_name="medseg",
            software_versions=__version__,
            device_serial_number="none",
            series_description=label,
            omit_empty_frames=bool(mask.any()),
        )
    with whole_file(path) as temporary:
        with _unquoted(files[0].parent, slices[0]):
            segmentation.save_as(temporary)
        _check(temporary, mask, geometry)


@contextmanager
def _unquoted(folder: Path, header: pydicom.Dataset) -> Iterator[None]:
    """What highdicom refuses as InputError, its warnings silenced: both quote values, which may be the patient's."""
    try:
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    except (AttributeError, KeyError) as error:  # of what is missing
        raise InputError(
            f"{folder}: no segmentation can refer to its slices ({error}); expected whole CT headers"
        ) from error
    except (ValueError, TypeError):
        fields = ", ".join(_invalid(header)) or "a field"
        raise InputError(
            f"{folder}: no segmentation can refer to its slices, {fields} in their headers is not valid; expected what "
            "DICOM allows there: correct it"
        ) from None


def _invalid(header: pydicom.Dataset) -> Iterator[str]:
    """The names of what highdicom converts and cannot."""
    from highdicom import PatientSexValues

    kinds = {"PatientBirthDate": DA, "PatientSex": PatientSexValues, "StudyDate": DA, "StudyTime": TM}
    for name, kind in kinds.items():
        try:
            _ = header.get(name) and kind(header.get(name))
        except (ValueError, TypeError):
            yield name


def read_segmentation(path: Path, geometry: Geometry, shape: tuple[int, ...]) -> Array:
    """The mask (index, row, col) bool on the grid of a volume, from the frames' own positions."""
    from highdicom.seg import segread

    segmentation = segread(path)
    pixels = segmentation.pixel_array.reshape(-1, *shape[1:])
    mask = np.zeros(shape, bool)
    for frame, pixel in zip(segmentation.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        position = np.array([frame.PlanePositionSequence[0].ImagePositionPatient], np.float64)
        index, row, column = geometry.nearest_voxel(position)[0]
        if (row, column) != (0, 0) or not 0 <= index < shape[0]:
            raise InputError(f"{path} has a frame outside of the volume's slices; expected its own series")
        mask[index] = pixel
    return mask


def _description(label: str) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    return SegmentDescription(
        segment_number=1,
        segment_label=label,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Nodule,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name="medseg", family=codes.DCM.ArtificialIntelligence, version=__version__
        ),
    )


def _check(path: Path, mask: Array, geometry: Geometry) -> None:
    if not np.array_equal(read_segmentation(path, geometry, mask.shape), mask.astype(bool)):
        raise InputError("the segmentation's frames do not lie where the CT does; expected straight, ordered slices")
