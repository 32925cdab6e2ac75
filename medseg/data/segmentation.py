"""DICOM-SEG for PACS and viewers: labelled voxels as a segmentation object that refers to their CT series."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg import __version__
from medseg.errors import InputError
from medseg.files import whole_file
from medseg.task import Array, Geometry

if TYPE_CHECKING:
    import pydicom
    from highdicom.seg import SegmentDescription

_ONE_VALUE = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")  # the same in all slices of a series
_REFERENCES = (*_ONE_VALUE, "SOPInstanceUID", "SOPClassUID")
_SERIES_NUMBER = 901  # higher than the numbers that scanners use
_COLOURS = ("#ffb000", "#648fff", "#dc267f", "#40d070", "#fe6100", "#785ef0", "#00c5d7", "#e6e600")  # in turns
_OF_FRAMES = ("PlanePositionSequence", "SegmentIdentificationSequence")  # in the shared group where all are equal
_COSINE, _MM = 1e-3, 1e-2  # how much a file's geometry may differ from the volume's when it is read back


@dataclass(frozen=True)
class Segment:
    """What one label is."""

    name: str
    colour: tuple[int, int, int] | None = None  # RGB; None means one of medseg's own
    code: tuple[str, str, str] | None = None  # value, scheme and meaning in a terminology; None means tissue
    abnormal: bool = False  # whether it is a lesion, not normal anatomy


def obstacle(files: Sequence[Path]) -> str:
    """Why no segmentation of these slices can be written; "" where one can. It quotes no value of their headers."""
    if find_spec("highdicom") is None:
        return "highdicom is not installed: pip install 'medseg[dicom]'"
    from pydicom import dcmread
    from pydicom.config import disable_value_validation

    with disable_value_validation():
        headers = [dcmread(file, stop_before_pixels=True, specific_tags=list(_REFERENCES)) for file in files]
        missing = [name for name in _REFERENCES if not all(header.get(name) for header in headers)]
        several = [name for name in _ONE_VALUE if len({str(header.get(name)) for header in headers}) > 1]
        instances = {str(header.get("SOPInstanceUID")) for header in headers}
    if missing:
        return f"its slices have no {', '.join(missing)}, which a segmentation must refer to"
    if several:
        return (
            f"its slices differ in {', '.join(several)}; a segmentation must refer to one series in one frame of "
            "reference"
        )
    return "" if len(instances) == len(files) else "several of its slices have the same SOPInstanceUID"


def series_of(file: Path) -> dict[str, str]:
    """Which series a slice belongs to: its number, and the SHA-256 of its UID, because a UID can identify a patient."""
    from pydicom import dcmread
    from pydicom.config import disable_value_validation

    with disable_value_validation():
        header = dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "SeriesNumber"])
        uid, number = str(header.get("SeriesInstanceUID", "")), str(header.get("SeriesNumber", ""))
    return {"number": number, "uid_sha256": sha256(uid.encode()).hexdigest() if uid else ""}


def write_segmentation(
    path: Path, labels: Array, files: Sequence[Path], geometry: Geometry, segments: Sequence[Segment]
) -> None:
    """Write labels (index, row, col) as n binary segments that refer to the slices `files`.

    A label is 0, or 1 to n for one of the n `segments`; `files` are in the order of the labels' slices. The file is
    read back before it gets its name: every frame must lie where the geometry says and hold its segment's pixels.
    Raises InputError where the slices' headers do not allow this, or nothing is labelled.
    """
    if reason := obstacle(files):
        raise InputError(reason)
    if not labels.any():
        raise InputError("nothing is segmented; expected at least one voxel")
    from highdicom import UID
    from highdicom.seg import Segmentation

    with _unquoted(), whole_file(path) as temporary:
        slices = [_header(file, geometry.spacing_mm[2]) for file in files]
        segmentation = Segmentation(
            source_images=slices,
            pixel_array=labels,
            segmentation_type="BINARY",
            segment_descriptions=[_description(number, one) for number, one in enumerate(segments, 1)],
            series_instance_uid=UID(),
            series_number=_SERIES_NUMBER,
            sop_instance_uid=UID(),
            instance_number=1,
            manufacturer="medseg",
            manufacturer_model_name="medseg",
            software_versions=__version__,
            device_serial_number="none",
            series_description="Segmentation by medseg",
            content_label="SEGMENTATION",
            **_planes(slices[0], len(labels), geometry),
        )
        segmentation.save_as(temporary)
        if not np.array_equal(read_segmentation(temporary, geometry, labels.shape), labels):
            raise InputError("its frames would not lie where the CT does; expected straight, ordered slices")


def read_segmentation(path: Path, geometry: Geometry, shape: tuple[int, ...]) -> Array:
    """The segments' numbers (index, row, col) uint16 on the grid of a volume, placed by the frames' own positions.

    Raises InputError where a frame does not lie on the volume's slices.
    """
    from highdicom.seg import segread

    segmentation = segread(path)
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    _check_grid(path, shared, geometry)
    labels = np.zeros(shape, np.uint16)
    pixels = segmentation.pixel_array.reshape(-1, *shape[1:])
    for frame, pixel in zip(segmentation.PerFrameFunctionalGroupsSequence, pixels, strict=True):
        place, segment = ((frame if name in frame else shared)[name][0] for name in _OF_FRAMES)
        position = np.array([place.ImagePositionPatient], np.float64)
        index, row, column = geometry.nearest_voxel(position)[0]
        if (row, column) != (0, 0) or not 0 <= index < shape[0]:
            raise InputError(f"{path} has a frame outside of the volume's slices; expected its own series")
        labels[index][pixel > 0] = segment.ReferencedSegmentNumber
    return labels


def _check_grid(path: Path, shared: Any, geometry: Geometry) -> None:
    rows_run, columns_run = np.reshape(geometry.direction, (3, 3)).T[:2]
    cosines = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    turned = np.abs(cosines - np.concatenate([rows_run, columns_run])).max() > _COSINE
    if turned or np.abs(np.array([across, down]) - geometry.spacing_mm[:2]).max() > _MM:
        raise InputError(f"{path} has frames turned or spaced unlike the volume's slices; expected its own series")


def _header(file: Path, thickness_mm: float) -> pydicom.Dataset:
    """A slice's header as highdicom needs it: attributes that may be empty are emptied if absent or not valid."""
    from pydicom import dcmread
    from pydicom.valuerep import DA, TM

    may_be_empty: dict[str, Callable[[Any], Any]] = {  # attributes of type 2 that a segmentation takes from its slices
        **dict.fromkeys(("PatientID", "PatientName", "AccessionNumber", "StudyID", "ReferringPhysicianName"), str),
        **{"PatientBirthDate": DA, "PatientSex": _sex, "StudyDate": DA, "StudyTime": TM},
    }
    header = dcmread(file, stop_before_pixels=True)
    for name, valid in may_be_empty.items():
        try:
            value = header.get(name)
            keep = value is not None and (not value or valid(value) is not None)
        except (ValueError, TypeError, AttributeError):
            keep = False
        if not keep:
            setattr(header, name, None)
    header.SliceThickness = round(thickness_mm, 6)  # it may be absent; `_planes` writes the same value
    return header


def _sex(value: str) -> str | None:
    return value if value in ("M", "F", "O") else None


def _planes(header: pydicom.Dataset, count: int, geometry: Geometry) -> dict[str, Any]:
    """The size of the slices' pixels. For a multi-frame file also the position of each of `count` slices.

    The frames of such a file can be in another order than the slices.
    """
    from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence

    across, down, between = (round(size, 6) for size in geometry.spacing_mm)
    planes: dict[str, Any] = {
        "pixel_measures": PixelMeasuresSequence((down, across), between, spacing_between_slices=between)
    }
    if "NumberOfFrames" in header:
        places = np.stack([np.arange(count), *np.zeros((2, count))], 1)
        rows_run, columns_run = np.reshape(geometry.direction, (3, 3)).T[:2]
        planes["plane_orientation"] = PlaneOrientationSequence("PATIENT", [*rows_run, *columns_run])
        planes["plane_positions"] = [
            PlanePositionSequence("PATIENT", place) for place in geometry.world_from_voxel(places)
        ]
    return planes


@contextmanager
def _unquoted() -> Iterator[None]:
    """Turn errors of highdicom into InputError and silence its warnings: both can quote values about the patient."""
    from pydicom.config import disable_value_validation

    try:
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    except (InputError, OSError):
        raise
    except Exception as error:  # the values in a header decide which error a library raises
        lacks = f" ({error})" if isinstance(error, AttributeError) else ""  # it has a field's name, not a value
        raise InputError(
            f"no segmentation can refer to its slices, {type(error).__name__}{lacks}; expected whole CT headers"
        ) from None


def _description(number: int, one: Segment) -> SegmentDescription:
    from highdicom import UID, AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    kind = Code(*one.code) if one.code else codes.SCT.Tissue
    abnormal, usual = codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.AnatomicalStructure
    colour = "#{:02x}{:02x}{:02x}".format(*one.colour) if one.colour else _COLOURS[(number - 1) % len(_COLOURS)]

    return SegmentDescription(
        segment_number=number,
        segment_label=one.name[:64],  # the longest string that DICOM's type LO allows
        segmented_property_category=abnormal if one.abnormal else usual,
        segmented_property_type=kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name="medseg", family=codes.DCM.ArtificialIntelligence, version=__version__
        ),
        tracking_uid=UID(),
        tracking_id=one.name,
        display_color=CIELabColor.from_string(colour),
    )
