"""Made-up CTs whose every voxel says where it lies: HU = 40 + 5x + 7y + 11z of its place in mm, and air in a corner.

So a reader's geometry is checked voxel by voxel: whoever mistakes an axis, an origin or a sign reads another value.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, generate_uid

from medseg.data.volume import Volume, read_volume
from medseg.errors import InputError
from medseg.task import Geometry, Reading

SHAPE = (12, 24, 20)  # index, row, col
GEOMETRY = Geometry((1.5, 1.5, 2.0), (-20.0, -15.0, -12.0))
AS_IT_IS = Reading()
GIVEN = Reading(spacing_mm=GEOMETRY.spacing_mm)
AIR = (slice(None), slice(0, 6), slice(0, 6))  # rows and columns that are air in every slice
Change = Callable[[Dataset], Any]


def values(geometry: Geometry = GEOMETRY, shape: tuple[int, ...] = SHAPE, air: bool = True) -> np.ndarray:
    """What the rule says (index, row, col) int16 HU."""
    places = geometry.world_from_voxel(np.indices(shape).reshape(3, -1).T)
    found = np.rint(40 + places @ [5, 7, 11]).astype(np.int16).reshape(shape)
    if air:
        found[AIR] = -1000
    return found


def off(volume: Volume) -> int:
    """By how many HU the volume is off the rule, at its worst voxel outside of the air."""
    wanted = values(volume.geometry, volume.array.shape, air=False).astype(int)
    wanted[volume.array == -1000] = -1000
    return int(abs(volume.array - wanted).max())


def slices(
    geometry: Geometry = GEOMETRY, shape: tuple[int, ...] = SHAPE, hu: np.ndarray | None = None
) -> list[Dataset]:
    """The CT as classic slices, from the lowest index on; one patient, study and series."""
    hu = values(geometry, shape) if hu is None else hu
    direction = np.reshape(geometry.direction, (3, 3))
    study, series, place = generate_uid(), generate_uid(), generate_uid()
    found = []
    for index, plane in enumerate(hu):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, generate_uid()
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, place
        data.PatientName, data.PatientID, data.PatientBirthDate = "Doe^Jane", "4711", "19010203"
        data.Modality, data.SeriesNumber, data.InstanceNumber = "CT", 3, index + 1
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.ImagePositionPatient = [round(x, 6) for x in geometry.world_from_voxel(np.array([index, 0, 0])).tolist()]
        data.ImageOrientationPatient = [round(x, 9) for x in (*direction[:, 0], *direction[:, 1])]
        data.PixelSpacing, data.SliceThickness = list(geometry.spacing_mm[1::-1]), geometry.spacing_mm[2]
        data.Rows, data.Columns = shape[1:]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.RescaleIntercept, data.RescaleSlope, data.RescaleType = -1024, 1, "HU"
        data.PixelData = (plane.astype(np.int32) + 1024).astype(np.uint16).tobytes()
        found.append(data)
    return found


def written(folder: Path, series: Sequence[Dataset], names: str = "IM{:04d}.dcm") -> Path:
    """The folder, with the slices in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(series, 1):
        data.save_as(folder / names.format(number), enforce_file_format=True)
    return folder


def stored(data: Dataset) -> np.ndarray:
    """An uncompressed slice's stored values (rows, columns)."""
    return np.frombuffer(data.PixelData, np.uint16 if data.PixelRepresentation == 0 else np.int16).reshape(
        data.Rows, data.Columns
    )


def compressed(data: Dataset, name: str) -> Dataset:
    """The slice, compressed: by pydicom where it can, else by ITK."""
    if name in ("RLELossless", "JPEGLSLossless"):
        data.compress(getattr(pydicom.uid, name), generate_instance_uid=False)
        return data
    writer = sitk.ImageFileWriter()
    with tempfile.TemporaryDirectory() as folder:
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(f"{folder}/one.dcm")
        writer.SetCompressor({"JPEG2000Lossless": "JPEG2000", "JPEGLosslessSV1": "JPEG"}[name])
        writer.UseCompressionOn()
        writer.Execute(sitk.GetImageFromArray(stored(data)[None]))
        frame = pydicom.encaps.get_frame(pydicom.dcmread(f"{folder}/one.dcm").PixelData, 0, number_of_frames=1)
    data.PixelData = encapsulate([frame])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = {"JPEG2000Lossless": JPEG2000Lossless, "JPEGLosslessSV1": JPEGLosslessSV1}[name]
    return data


def enhanced(series: Sequence[Dataset], order: Sequence[int] | None = None) -> Dataset:
    """The slices as one multi-frame object, its frames in this order."""
    order = list(order) if order is not None else list(range(len(series)))
    first = series[0]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = first.file_meta.TransferSyntaxUID
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedCTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber"):
        setattr(data, name, first[name].value)
    for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        setattr(data, name, first[name].value)
    data.PhotometricInterpretation, data.ImageType = "MONOCHROME2", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    data.NumberOfFrames = len(order)
    shared = Dataset()
    shared.PixelMeasuresSequence = [_of(first, "PixelSpacing", "SliceThickness")]
    shared.PlaneOrientationSequence = [_of(first, "ImageOrientationPatient")]
    shared.PixelValueTransformationSequence = [_of(first, "RescaleIntercept", "RescaleSlope", "RescaleType")]
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = []
    for index in order:
        frame = Dataset()
        frame.PlanePositionSequence = [_of(series[index], "ImagePositionPatient")]
        data.PerFrameFunctionalGroupsSequence.append(frame)
    data.PixelData = b"".join(series[index].PixelData for index in order)
    return data


def _of(source: Dataset, *names: str) -> Dataset:
    found = Dataset()
    for name in names:
        setattr(found, name, source[name].value)
    return found


def image(geometry: Geometry = GEOMETRY, shape: tuple[int, ...] = SHAPE, kind: str = "int16") -> sitk.Image:
    """The CT for SimpleITK's writers."""
    found = sitk.GetImageFromArray(values(geometry, shape).astype(kind))
    found.SetSpacing(geometry.spacing_mm)
    found.SetOrigin(geometry.origin_mm)
    found.SetDirection(geometry.direction)
    return found


def right(path: Path, note: str = "", reading: Reading = AS_IT_IS, within: int = 0) -> Volume:
    """The volume, right at every voxel; with one note that says this, or none."""
    volume = read_volume(path, reading)
    assert off(volume) <= within, volume
    assert [note in one for one in volume.notes] == [True] * bool(note), volume.notes
    return volume


def refused(path: Path, what: str, reading: Reading = AS_IT_IS) -> None:
    with pytest.raises(InputError) as caught:
        read_volume(path, reading)
    assert what in str(caught.value) and "\n" not in str(caught.value), caught.value
