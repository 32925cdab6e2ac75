"""One volume stored in every axis order and with every axis reversed, and written in every format that is read."""

from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from medseg.data.volume import write_mask
from medseg.task import Array, Geometry

Stored = tuple[str, Array, Geometry]


def orders() -> Iterator[tuple[str, tuple[int, ...], tuple[int, ...]]]:
    """All 48: a name, the array's axes in their new order, and 1 or -1 for the direction of each."""
    for axes in permutations(range(3)):
        for steps in product((1, -1), repeat=3):
            name = "".join("ZYX"[axis] if step > 0 else "zyx"[axis] for axis, step in zip(axes, steps, strict=True))
            yield name, axes, steps


def stored(array: Array, geometry: Geometry, axes: tuple[int, ...], steps: tuple[int, ...]) -> tuple[Array, Geometry]:
    """The same voxels at the same places in the patient, in another order, by SimpleITK's filters."""
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_mm)
    image.SetOrigin(geometry.origin_mm)
    image.SetDirection(geometry.direction)
    image = SimpleITK.PermuteAxes(image, [2 - axis for axis in axes[::-1]])
    image = SimpleITK.Flip(image, [step < 0 for step in steps[::-1]], False)
    where = Geometry(image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    return SimpleITK.GetArrayFromImage(image), where


def write(folder: Path, kind: str, array: Array, geometry: Geometry) -> Path:
    """The volume in a file of this kind (mhd, nrrd, nii.gz), or as a folder of slices (dicom)."""
    if kind == "dicom":
        return write_series(folder / "series", array, geometry)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"ct.{kind}"
    write_mask(path, array, geometry)
    return path


def write_series(folder: Path, hu: Array, geometry: Geometry, **changes: object) -> Path:
    """A CT series of an array's slices; `changes` are attributes, None takes one away."""
    folder.mkdir(parents=True)
    x, y, _ = np.reshape(geometry.direction, (3, 3)).T
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for index, plane in enumerate(hu):
        instance = generate_uid()
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, instance
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, instance
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.PatientID, data.PatientName, data.PatientBirthDate, data.PatientSex = "4711", "Doe^Jane", "19500101", "F"
        data.StudyDate, data.StudyTime, data.AccessionNumber, data.StudyID = "20200101", "120000", "1", "1"
        data.Modality, data.SeriesNumber, data.InstanceNumber = "CT", 3, index + 1
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        place = geometry.world_from_voxel(np.array([[index, 0, 0]]))[0]
        data.ImagePositionPatient = [f"{number:.6f}" for number in place]
        data.ImageOrientationPatient = [f"{number:.10g}" for number in (*x, *y)]
        across, down, between = geometry.spacing_mm
        data.PixelSpacing, data.SliceThickness = [f"{down:.8g}", f"{across:.8g}"], f"{between:.8g}"
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = "1", "-1024", "HU"
        data.set_pixel_data((plane + 1024).astype(np.uint16), "MONOCHROME2", 16, generate_instance_uid=False)
        for name, value in changes.items():
            with pydicom.config.disable_value_validation():
                data.add(pydicom.DataElement(name, dictionary_VR(name), value, validation_mode=IGNORE))
            if value is None:
                delattr(data, name)
        with pydicom.config.disable_value_validation():
            data.save_as(
                folder / f"{(7 * index) % len(hu):03}.dcm" if np.gcd(7, len(hu)) == 1 else folder / f"{index:03}.dcm"
            )
    return folder
