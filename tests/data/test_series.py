"""Every series in a path is found: folders, trees, DICOMDIR, files without suffix or preamble, zips; one by one."""

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from medseg.data.series import found
from medseg.data.volume import read_volume
from medseg.errors import InputError
from medseg.task import Geometry, Reading
from tests.data import made
from tests.shared import SHARED, needs_shared

AS_IT_IS = Reading()


def _other(number: int) -> list[pydicom.Dataset]:
    """Another patient's series."""
    series = made.slices(Geometry((1.2, 1.3, 2.0), (5.0, 7.0, 30.0)))
    for data in series:
        data.SeriesNumber, data.PatientID, data.PatientName = number, "4712", "Roe^Richard"
    return series


def _names(path: Path) -> list[str]:
    return [one.name for one in found(path, AS_IT_IS)]


def _all_right(path: Path) -> None:
    for one in found(path, AS_IT_IS):
        assert made.off(one.load()) == 0


def test_series_of_one_folder_are_answered_one_by_one(tmp_path: Path) -> None:
    folder = made.written(tmp_path / "ct", made.slices())
    made.written(folder, _other(10), "B{}.dcm")
    assert _names(folder) == ["ct-series-3", "ct-series-10"]
    _all_right(folder)
    with pytest.raises(InputError, match=r"holds 2 series or volumes \(ct-series-3, ct-series-10\)"):
        read_volume(folder)


def test_trees_are_searched_and_numbers_that_meet_are_told_apart(tmp_path: Path) -> None:
    made.written(tmp_path / "ct" / "DOE" / "S1", made.slices(), "{}")
    made.written(tmp_path / "ct" / "ROE" / "1" / "2", _other(3), "IM{}")
    (tmp_path / "ct" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    assert _names(tmp_path / "ct") == ["ct-series-3", "ct-series-3-2"]
    assert _names(tmp_path / "ct" / "DICOMDIR") == ["ct-series-3", "ct-series-3-2"]
    _all_right(tmp_path / "ct")


def test_a_series_in_two_folders_is_one(tmp_path: Path) -> None:
    series = made.slices()
    made.written(tmp_path / "ct" / "a", series[:6])
    made.written(tmp_path / "ct" / "b", series[6:])
    volume = read_volume(tmp_path / "ct")
    assert made.off(volume) == 0 and len(volume.files) == 12
    assert [pydicom.dcmread(file).InstanceNumber for file in volume.files] == list(range(1, 13))


@pytest.mark.parametrize("syntax", ["ExplicitVRLittleEndian", "ImplicitVRLittleEndian"])
@pytest.mark.parametrize("meta", [True, False])
def test_files_without_preamble_and_suffix_are_read(tmp_path: Path, syntax: str, meta: bool) -> None:
    folder = made.written(tmp_path / "ct", made.slices(), "{}")
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
        data.save_as(path)
        content = path.read_bytes()
        start = 132 if meta else content.index(b"\x08\0\x08\0", 132)
        path.write_bytes(content[start:])
    assert made.off(read_volume(folder)) == 0


def test_damage_stops_the_series_of_its_folder_alone(tmp_path: Path) -> None:
    made.written(tmp_path / "ct" / "a", made.slices())
    made.written(tmp_path / "ct" / "b", _other(5))
    (tmp_path / "ct" / "b" / "IM0013").touch()
    (tmp_path / "ct" / "c").mkdir()
    (tmp_path / "ct" / "c" / "lost").touch()
    whole, broken, orphan = found(tmp_path / "ct", AS_IT_IS)
    assert made.off(whole.load()) == 0
    for one, name in ((broken, "IM0013"), (orphan, "lost")):
        with pytest.raises(InputError, match=f"{name} is empty"):
            one.load()
    assert len(found(tmp_path / "ct", Reading(skip_damaged=True))) == 2


def test_other_series_are_listed_in_a_note(tmp_path: Path) -> None:
    made.written(tmp_path / "ct", made.slices())
    others = _other(7)
    for data in others:
        data.Modality, data.SOPClassUID = "MR", pydicom.uid.MRImageStorage
    made.written(tmp_path / "ct", others, "MR{}.dcm")
    (one,) = found(tmp_path / "ct", AS_IT_IS)
    assert any("left out 12 x MR Image (series 7" in note for note in one.load().notes)


def test_volumes_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("s0000", "s0001"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        sitk.WriteImage(made.image(), str(tmp_path / "in" / folder / "ct.nii.gz"))
    sitk.WriteImage(made.image(), str(tmp_path / "in" / "other.mhd"))
    (tmp_path / "in" / "list.csv").write_text("a,b\n")
    assert _names(tmp_path / "in") == ["other", "s0000-ct", "s0001-ct"]
    _all_right(tmp_path / "in")


def _zipped(folder: Path, path: Path) -> Path:
    return Path(shutil.make_archive(str(path), "zip", folder))


def test_a_zip_is_read_and_unpacked_no_longer_than_needed(tmp_path: Path) -> None:
    made.written(tmp_path / "in" / "a", made.slices(), "{}")
    made.written(tmp_path / "in" / "b", _other(9))
    sitk.WriteImage(made.image(), str(tmp_path / "in" / "ct.nii.gz"))
    path = _zipped(tmp_path / "in", tmp_path / "scan")
    several = found(path, AS_IT_IS)
    assert [one.name for one in several] == ["ct", "scan-series-3", "scan-series-9"]
    volumes = [one.load() for one in several]
    folder = volumes[1].files[0]
    assert all(made.off(volume) == 0 for volume in volumes) and folder.exists()
    del several, volumes
    assert not folder.exists()


def test_zips_that_lead_elsewhere_or_hold_too_much_are_refused(tmp_path: Path) -> None:
    for name in ("../out.dcm", "/etc/out.dcm", "a/../../out.dcm", "C:/out.dcm", "a\\..\\out.dcm"):
        with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), b"x")
        with pytest.raises(InputError, match=r"lead out of its folder|not DICOM|not a regular"):
            found(tmp_path / "bad.zip", AS_IT_IS)[0].load()
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("IM1", b"\0" * (80 << 20))
    with pytest.raises(InputError, match="unpacks to 1 files"):
        found(tmp_path / "bomb.zip", AS_IT_IS)
    made.written(tmp_path / "in", made.slices())
    whole = _zipped(tmp_path / "in", tmp_path / "cut").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"cut\.zip"):
        found(tmp_path / "cut.zip", AS_IT_IS)
    assert not (tmp_path.parent / "out.dcm").exists()


def test_pipes_devices_and_loops_are_no_volumes(tmp_path: Path) -> None:
    folder = made.written(tmp_path / "ct", made.slices())
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere").symlink_to(folder / "nothing")
    assert made.off(read_volume(folder)) == 0
    os.mkfifo(tmp_path / "ct.nii")
    for path in (tmp_path / "ct.nii", Path("/dev/zero")):
        with pytest.raises(InputError, match="not a regular file"):
            read_volume(path)


def test_nothing_to_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no DICOM slices and no volume"):
        read_volume(tmp_path)
    (tmp_path / "notes.txt").write_text("no volume")
    with pytest.raises(InputError, match="holds no DICOM slices"):
        read_volume(tmp_path)


DICOM_CASES = {
    "02-slice-other-orientation": "IM0007.dcm differ(s) in orientation",
    "02-slice-other-pixel-spacing": "IM0007.dcm differ(s) in pixel spacing",
    "03-rgb-screen-capture-as-slice": 12,
    "04-last-slice-0-bytes": "IM0012.dcm is empty",
    "04-last-slice-cut-in-header": "IM0012.dcm is a damaged DICOM file",
    "10-modality-mr": "12 x MR Image",
    "11-monochrome1": 12,
    "12-no-rescale": "no RescaleSlope",
    "13-padding-63536-unsigned": 12,
    "14-tilt-1-degree-thin-slices": "gantry tilt",
    "15-enhanced-ct": 12,
    "16-series-one-folder-down": 12,
    "18-no-patient-id": 12,
}
FILE_CASES = {
    "07-qform-sform-differ/ct.nii.gz": "qform and sform are 55.4 mm apart",
    "09-nifti-2/ct.nii.gz": 12,
    "17-mhd-file-pattern/ct.mhd": 12,
    "security/truncated.nii": "it is truncated",
    "security/nifti_gz_short_inside.nii.gz": "unpacks to 5000 bytes",
    "security/nifti_sform_nan.nii": "sform of NaN",
    "security/mhd_origin-nan/a.mhd": "origin nan",
    "security/mhd_spacing-missing/a.mhd": "no voxel spacing",
    "security/mhd_colon-passwd/a.mhd": "expected a file beside it",
    "security/mhd_ndims-huge/a.mhd": "NDims is 1000000",
    "security/nrrd_data-devzero.nrrd": "expected a file beside it",
    "security/dcm_bits8": "8 bits allocated, 16 stored",
}


@needs_shared
@pytest.mark.parametrize("case", [*DICOM_CASES, *FILE_CASES])
def test_the_shared_cases(case: str) -> None:
    due = DICOM_CASES.get(case, FILE_CASES.get(case))
    path = SHARED / "cases" / (f"{case}/ct" if case in DICOM_CASES else case)
    if isinstance(due, str):
        with pytest.raises(InputError) as caught:
            read_volume(path)
        assert due in str(caught.value)
        return
    volume = read_volume(path)
    assert len(volume.array) == due and made.off(volume) == 0
    assert made.values(volume.geometry, air=False).min() <= volume.array.max()


@needs_shared
def test_an_sform_that_is_nearly_a_rotation_is_taken_with_a_note() -> None:
    volume = read_volume(SHARED / "cases/08-sform-not-quite-orthonormal/ct.nii.gz")
    assert made.off(volume) <= 1 and any("nearest rotation" in note for note in volume.notes)


@needs_shared
def test_spacing_is_taken_from_the_person_where_the_file_has_none() -> None:
    path = SHARED / "cases/security/mhd_spacing-missing/a.mhd"
    volume = read_volume(path, Reading(spacing_mm=(0.7, 0.7, 1.25)))
    assert volume.geometry.spacing_mm == (0.7, 0.7, 1.25) and any("--spacing" in note for note in volume.notes)


def test_the_publishers_own_files() -> None:
    data = pytest.importorskip("data_store", reason="needs pydicom-data")
    path = Path(data.__file__).parent / "data" / "eCT_Supplemental.dcm"
    volume = read_volume(path)
    assert volume.array.shape == (2, 512, 512) and volume.frames == (1, 0)
    assert np.allclose(volume.geometry.spacing_mm, (0.388672, 0.388672, 10))
    with pytest.raises(InputError, match="Enhanced MR Image"):
        read_volume(path.with_name("emri_small.dcm"))


def test_a_patients_tree_of_pydicom_is_listed() -> None:
    folder = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests"
    if not (folder / "DICOMDIR").exists():
        pytest.skip("needs pydicom's own test files")
    one, other, *_ = found(folder / "DICOMDIR", AS_IT_IS)
    with pytest.raises(InputError, match="series 2 lacks 161 slice"):
        one.load()
    assert other.load().array.shape == (5, 16, 16)
    assert any("MR Image" in note and "a localizer" in note for note in other.load().notes)
