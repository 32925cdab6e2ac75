"""DICOM-SEG written over a real CT series, and read back."""

import traceback
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

pytest.importorskip("highdicom")
from pydicom.config import IGNORE, disable_value_validation
from pydicom.datadict import dictionary_VR
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from medseg.cli.main import app
from medseg.data.segmentation import obstacle, read_segmentation, write_segmentation
from medseg.data.volume import read_volume
from medseg.errors import InputError
from medseg.run import Run
from medseg.task import Geometry
from tests.shared import SHARED, needs_shared

CT = SHARED / "data" / "dicom" / "ct_jpeg2000"
PATIENT = "Doe^Jane"


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real series; what anonymising took away, the UIDs and the name, is given back, made up."""
    folder = tmp_path_factory.mktemp("ct")
    study, number = generate_uid(), generate_uid()
    for index, path in enumerate(sorted(CT.iterdir())):
        data = pydicom.dcmread(path)
        data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID = study, number, generate_uid()
        data.SOPClassUID, data.PatientName, data.PatientID = data.file_meta.MediaStorageSOPClassUID, PATIENT, "4711"
        data.save_as(folder / f"{20 - index:02}.dcm")  # not in the order of their names
    return folder


def _cropped(path: Path, hu: np.ndarray) -> pydicom.Dataset:
    """The slice with these pixels instead of its own, uncompressed."""
    data = pydicom.dcmread(path)
    stored = (hu - int(data.RescaleIntercept)).astype(np.uint16)
    data.set_pixel_data(stored, "MONOCHROME2", data.BitsStored, generate_instance_uid=False)
    return data


@needs_shared
def test_a_mask_comes_back_on_its_slices(series: Path, tmp_path: Path) -> None:
    volume = read_volume(series)
    files = volume.files
    mask = np.zeros(volume.array.shape, bool)
    mask[3:5, 100:120, 200:260] = True
    mask[17, 5, 7] = True
    write_segmentation(tmp_path / "mask.dcm", mask, files, volume.geometry, "test")
    assert np.array_equal(read_segmentation(tmp_path / "mask.dcm", volume.geometry, mask.shape), mask)
    written, source = pydicom.dcmread(tmp_path / "mask.dcm"), pydicom.dcmread(files[0])
    assert written.Modality == "SEG" and written.NumberOfFrames == 3
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert written[name].value == source[name].value
    referred = {
        item.ReferencedSOPInstanceUID for item in written.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referred == {pydicom.dcmread(file).SOPInstanceUID for file in files}


@needs_shared
def test_an_empty_mask_is_written_too(series: Path, tmp_path: Path) -> None:
    volume = read_volume(series)
    empty = np.zeros(volume.array.shape, bool)
    write_segmentation(tmp_path / "mask.dcm", empty, read_volume(series).files, volume.geometry, "test")
    assert not read_segmentation(tmp_path / "mask.dcm", volume.geometry, empty.shape).any()


@needs_shared
def test_a_mask_that_would_lie_elsewhere_is_not_written(series: Path, tmp_path: Path) -> None:
    volume = read_volume(series)
    files = volume.files
    mask = np.zeros(volume.array.shape, bool)
    mask[3, 10, 10] = True
    spacing, origin = volume.geometry.spacing_mm, volume.geometry.origin_mm
    shifted = Geometry(spacing, (origin[0], origin[1], origin[2] + spacing[2]), volume.geometry.direction)
    with pytest.raises(InputError, match="do not lie where the CT does"):
        write_segmentation(tmp_path / "mask.dcm", mask, files, shifted, "test")
    with pytest.raises(InputError, match="do not lie where the CT does"):
        write_segmentation(tmp_path / "mask.dcm", mask, files[::-1], volume.geometry, "test")
    assert not list(tmp_path.iterdir())


@needs_shared
def test_predict_writes_it_and_tells_nobody_the_patients_name(
    series: Path, luna_runs: list[Run], tmp_path: Path
) -> None:
    small = tmp_path / "ct"
    small.mkdir()
    for path, pixels in zip(read_volume(series).files[:6], read_volume(series).array, strict=False):
        _cropped(path, pixels[200:264, 200:264]).save_as(small / path.name)
    runs = [word for run in luna_runs for word in ("--run", str(run.path))]
    done = CliRunner().invoke(app, ["predict", "luna", str(small), *runs, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "out" / "mask.dcm") in done.stdout
    texts = [done.output, *(path.read_text() for path in (tmp_path / "out").glob("nodules.*") if path.suffix != ".png")]
    assert not any(word in text for text in texts for word in ("Doe", "Jane", "4711"))
    volume = read_volume(small)
    nifti = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "mask.nii.gz"))).astype(bool)
    assert np.array_equal(read_segmentation(tmp_path / "out" / "mask.dcm", volume.geometry, nifti.shape), nifti)


@needs_shared
def test_slices_that_cannot_be_referred_to_are_said() -> None:
    assert obstacle(read_volume(CT).files).startswith("its slices have no StudyInstanceUID, SeriesInstanceUID")


SECRET = "A SECRET far too long for what stands there, and no date"


@needs_shared
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("field", ["PatientBirthDate", "PatientSex", "AccessionNumber", "PatientName", "PatientAge"])
def test_no_error_or_warning_quotes_an_odd_header(series: Path, tmp_path: Path, field: str) -> None:
    with disable_value_validation():
        for path in read_volume(series).files:
            data = pydicom.dcmread(path)
            data.add(pydicom.DataElement(field, dictionary_VR(field), SECRET, validation_mode=IGNORE))
            data.save_as(tmp_path / path.name)
    volume = read_volume(tmp_path)
    files = volume.files
    refusal = ""
    try:
        write_segmentation(tmp_path / "out", np.ones(volume.array.shape, bool), files, volume.geometry, "nodules")
    except InputError as error:
        refusal = "".join(traceback.format_exception(error))
    assert "SECRET" not in refusal
    assert (field in refusal) == (field in ("PatientBirthDate", "PatientSex")), refusal
    assert (tmp_path / "out").is_file() == (not refusal)
