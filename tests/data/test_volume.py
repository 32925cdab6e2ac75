"""Volumes keep their geometry, and each kind of damage gets its own error."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from medseg.data.volume import read_volume, write_mask
from medseg.errors import InputError
from medseg.task import Geometry
from tests.shared import SHARED, needs_shared

DIRECTION = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0)
GEOMETRY = Geometry((0.7, 0.8, 2.5), (-10.0, 20.0, -300.0), DIRECTION)


def _image(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(GEOMETRY.spacing_mm)
    image.SetOrigin(GEOMETRY.origin_mm)
    image.SetDirection(DIRECTION)
    return image


def _ct() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 2000, (5, 6, 7)).astype(np.int16)


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nrrd", ".nii", ".nii.gz"])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_format_gives_back_voxels_and_geometry(tmp_path: Path, suffix: str, compressed: bool) -> None:
    array = _ct()
    sitk.WriteImage(_image(array), str(tmp_path / f"ct{suffix}"), useCompression=compressed)
    volume = read_volume(tmp_path / f"ct{suffix}")
    assert volume.name == "ct"
    assert np.array_equal(volume.array, array)
    np.testing.assert_allclose(volume.geometry.spacing_mm, GEOMETRY.spacing_mm, atol=1e-5)
    np.testing.assert_allclose(volume.geometry.origin_mm, GEOMETRY.origin_mm, atol=1e-4)
    np.testing.assert_allclose(volume.geometry.direction, DIRECTION, atol=1e-6)


def test_world_and_voxel_coordinates_are_inverses_and_follow_the_image() -> None:
    voxels = np.array([[0, 0, 0], [4, 3, 2], [1, 5, 6]])
    world = GEOMETRY.world_from_voxel(voxels)
    image = _image(_ct())
    for voxel, point in zip(voxels, world, strict=True):
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint([int(n) for n in voxel[::-1]]), point)
    assert np.array_equal(GEOMETRY.nearest_voxel(world + 0.2), voxels)


@pytest.mark.parametrize("name", ["mask.nii.gz", "mask.mhd", "mask.nrrd"])
def test_a_mask_is_written_in_the_volumes_geometry(tmp_path: Path, name: str) -> None:
    mask = (_ct() > 0).astype(np.uint8)
    write_mask(tmp_path / name, mask, GEOMETRY)
    read = sitk.ReadImage(str(tmp_path / name))
    assert np.array_equal(sitk.GetArrayFromImage(read), mask)
    np.testing.assert_allclose(read.GetOrigin(), GEOMETRY.origin_mm, atol=1e-4)
    np.testing.assert_allclose(read.GetDirection(), DIRECTION, atol=1e-6)
    assert {path.name.split(".")[0] for path in tmp_path.iterdir()} == {"mask"}, "no temporary file is left"


def test_fractions_are_rounded_and_said(tmp_path: Path) -> None:
    sitk.WriteImage(_image(_ct().astype(np.float32) + 0.25), str(tmp_path / "ct.nrrd"))
    volume = read_volume(tmp_path / "ct.nrrd")
    assert np.array_equal(volume.array, _ct())
    assert "rounded" in volume.notes[0]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_nan_is_refused(tmp_path: Path, suffix: str) -> None:
    array = _ct().astype(np.float32)
    array[1, 2, 3] = np.nan
    sitk.WriteImage(_image(array), str(tmp_path / f"ct{suffix}"))
    with pytest.raises(InputError, match="holds 1 NaN"):
        read_volume(tmp_path / f"ct{suffix}")


def test_a_picture_is_not_a_volume(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5), np.int16)), str(tmp_path / "flat.mha"))
    with pytest.raises(InputError, match="2 dimensions and 1 channels; expected 3"):
        read_volume(tmp_path / "flat.mha")


@pytest.mark.parametrize("compressed", [False, True])
def test_truncated_and_missing_pixels_are_named(tmp_path: Path, compressed: bool) -> None:
    sitk.WriteImage(_image(_ct()), str(tmp_path / "ct.mhd"), useCompression=compressed)
    raw = tmp_path / ("ct.zraw" if compressed else "ct.raw")
    raw.write_bytes(raw.read_bytes()[:-20])
    with pytest.raises(InputError, match=rf"{raw.name} has \d+ bytes; expected \d+: it is truncated"):
        read_volume(tmp_path / "ct.mhd")
    raw.unlink()
    with pytest.raises(InputError, match=f"names {raw.name}, which is not beside it"):
        read_volume(tmp_path / "ct.mhd")


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_a_damaged_file_is_one_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"ct{suffix}"
    sitk.WriteImage(_image(_ct()), str(path), useCompression=True)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"damaged|truncated"):
        read_volume(path)


def test_a_missing_file_and_a_foreign_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_volume(tmp_path / "ct.mhd")
    (tmp_path / "notes.txt").write_text("no volume")
    with pytest.raises(InputError, match=r"not a volume medseg reads; expected a volume"):
        read_volume(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="holds no DICOM slices"):
        read_volume(tmp_path)


def _series(folder: Path, positions: list[float], uid: str = "1.2.3", number: int = 1, tilt: float = 0.0) -> None:
    """Write CT slices at these heights (mm)."""
    folder.mkdir(exist_ok=True)
    for index, height in enumerate(positions):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"{uid}.{number}.{index + 1}"
        data.SeriesInstanceUID, data.SeriesNumber, data.Modality = uid, number, "CT"
        data.StudyInstanceUID, data.PatientName, data.PatientID = "1.2", "Nobody^Known", "secret"
        data.ImagePositionPatient = [0, tilt * index, height]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [0.5, 0.5], 2
        data.Rows = data.Columns = 4
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.PixelData = np.arange(16, dtype=np.int16).tobytes()[:-2] + np.int16(2000 + index).tobytes()
        data.save_as(folder / f"{number}-{index}.dcm", enforce_file_format=True)


def test_a_dicom_folder_is_ordered_by_position(tmp_path: Path) -> None:
    _series(tmp_path / "ct", [6.0, 2.0, 4.0])
    volume = read_volume(tmp_path / "ct")
    assert volume.array[:, 3, 3].tolist() == [2001 - 1024, 2002 - 1024, 2000 - 1024]
    assert volume.geometry.spacing_mm == (0.5, 0.5, 2.0)
    assert volume.geometry.origin_mm[2] == 2.0
    assert volume.is_dicom


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([0, 2, 4, 8, 10], r"lacks 1 slice\(s\) between 1-2.dcm and 1-3.dcm"),
        ([0, 2, 4, 7, 9], r"unequal spacing between 1-2.dcm and 1-3.dcm \(3.00 mm, elsewhere 2.00 mm\)"),
        ([0, 2, 2, 4], "two slices at one position"),
        ([0], "1 DICOM slice"),
    ],
)
def test_a_falsified_stack_is_refused(tmp_path: Path, positions: list[float], message: str) -> None:
    _series(tmp_path / "ct", positions)
    with pytest.raises(InputError, match=message):
        read_volume(tmp_path / "ct")


def test_two_series_are_refused_without_a_word_about_the_patient(tmp_path: Path) -> None:
    _series(tmp_path / "ct", [0, 2, 4])
    _series(tmp_path / "ct", [0, 2], uid="9.9.9", number=7)
    with pytest.raises(InputError, match="holds 2 series or volumes \\(ct-series-1, ct-series-7\\)") as caught:
        read_volume(tmp_path / "ct")
    assert not any(secret in str(caught.value) for secret in ("9.9.9", "1.2.3", "secret", "Nobody"))


def test_gantry_tilt_is_refused(tmp_path: Path) -> None:
    _series(tmp_path / "ct", [0, 2, 4], tilt=0.5)
    with pytest.raises(InputError, match="gantry tilt"):
        read_volume(tmp_path / "ct")


@needs_shared
def test_real_volumes() -> None:
    ct = read_volume(next((SHARED / "data/luna/subset0").glob("*.mhd")))
    assert ct.array.shape == (140, 512, 512)
    assert ct.geometry.spacing_mm == (0.820312, 0.820312, 2.5)
    dicom = read_volume(SHARED / "data/dicom/ct_jpeg2000")
    assert dicom.array.shape == (20, 512, 512)
    assert (dicom.array.min(), dicom.array.max()) == (-1024, 1839)
    assert dicom.geometry.spacing_mm[2] == 2.0
