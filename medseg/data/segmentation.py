"""DICOM-SEG: labelled voxels as the segmentation object of the CT series they were found in, for PACS and viewers."""

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

_ONE_VALUE = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")  # which all slices of a series share
_REFERENCES = (*_ONE_VALUE, "SOPInstanceUID", "SOPClassUID")
_SERIES_NUMBER = 901  # beyond what scanners give their own series
_COLOURS = ("#ffb000", "#648fff", "#dc267f", "#40d070", "#fe6100", "#785ef0", "#00c5d7", "#e6e600")  # in turns
_OF_FRAMES = ("PlanePositionSequence", "SegmentIdentificationSequence")  # shared where all frames have the same
_COSINE, _MM = 1e-3, 1e-2  # how far what is read back may be from the volume's own geometry


@dataclass(frozen=True)
class Segment:
    """What one label is."""

    name: str
    colour: tuple[int, int, int] | None = None  # one of medseg's own where none is given
    code: tuple[str, str, str] | None = None  # value, scheme and meaning in a terminology; tissue where none is given
    abnormal: bool = False  # whether it is a lesion and no anatomy


def obstacle(files: Sequence[Path]) -> str:
    """Why no segmentation of these slices can be written, "" where it can. Quotes nothing of their headers."""
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
    """Which series a slice belongs to: its number, and the SHA-256 of its UID, which itself would name the patient."""
    from pydicom import dcmread
    from pydicom.config import disable_value_validation

    with disable_value_validation():
        header = dcmread(file, stop_before_pixels=True, specific_tags=["SeriesInstanceUID", "SeriesNumber"])
        uid, number = str(header.get("SeriesInstanceUID", "")), str(header.get("SeriesNumber", ""))
    return {"number": number, "uid_sha256": sha256(uid.encode()).hexdigest() if uid else ""}


def write_segmentation(
    path: Path, labels: Array, files: Sequence[Path], geometry: Geometry, segments: Sequence[Segment]
) -> None:
    """Write labels (index, row, col), 0 or 1 to n, as n binary segments over the slices `files`, in the labels' order.

    What was written is read back first: every frame must lie where the geometry says, and hold its segment's pixels.
    Raises InputError where the slices' headers do not allow that, or nothing is labelled.
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
    """The segments' numbers (index, row, col) uint16 on the grid of a volume, from the frames' own positions.

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
    """A slice's header as highdicom takes it: what DICOM lets be empty, and is absent or not valid, is empty."""
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
    header.SliceThickness = round(thickness_mm, 6)  # which may be absent; `_planes` says the same
    return header


def _sex(value: str) -> str | None:
    return value if value in ("M", "F", "O") else None


def _planes(header: pydicom.Dataset, count: int, geometry: Geometry) -> dict[str, Any]:
    """How large the slices' pixels are, and of a multi-frame file, whose frames have an order of their own, where."""
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
    """What highdicom refuses as InputError, its warnings silenced: both quote values, which may be the patient's."""
    from pydicom.config import disable_value_validation

    try:
        with warnings.catch_warnings(), disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    except (InputError, OSError):
        raise
    except Exception as error:  # of any kind: what a header holds decides where a library stumbles
        lacks = f" ({error})" if isinstance(error, AttributeError) else ""  # the name of a field, no value
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
        segment_label=one.name[:64],  # as DICOM's long strings allow
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
