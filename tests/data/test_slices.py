"""DICOM slices: what falsifies a stack or its values is refused by name or left out with a note; the rest is exact."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medseg.data.volume import Volume, read_volume
from medseg.errors import InputError
from medseg.task import Geometry, Reading
from tests.data import made

Series = list[Dataset]
AS_IT_IS = Reading()
SECRETS = ("Doe", "Jane", "4711", "19010203", "1.2.826")


def _refused(folder: Path, series: Series, reading: Reading = AS_IT_IS) -> str:
    with pytest.raises(InputError) as caught:
        read_volume(made.written(folder, series), reading)
    words = str(caught.value)
    assert "\n" not in words and not any(secret in words for secret in SECRETS), words
    return words


def _read(folder: Path, series: Series, reading: Reading = AS_IT_IS) -> Volume:
    volume = read_volume(made.written(folder, series), reading)
    assert made.off(volume) == 0, volume.notes
    return volume


def _set(**values: object) -> Callable[[Dataset], None]:
    return lambda data: [setattr(data, name, value) for name, value in values.items()] and None


COS, SIN = float(np.cos(np.radians(2))), float(np.sin(np.radians(2)))
ODD = {
    "coronal": (_set(ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), "orientation"),
    "turned by 2 degrees in its plane": (_set(ImageOrientationPatient=[COS, SIN, 0, -SIN, COS, 0]), "orientation"),
    "upside down": (_set(ImageOrientationPatient=[-1, 0, 0, 0, -1, 0]), "orientation"),
    "half the pixel spacing": (_set(PixelSpacing=[0.75, 0.75]), "pixel spacing"),
    "one per cent more pixel spacing": (_set(PixelSpacing=[1.515, 1.515]), "pixel spacing"),
    "one spacing of two": (_set(PixelSpacing=[1.5, 1.6]), "pixel spacing"),
    "fewer rows": (lambda data: _set(Rows=23, PixelData=data.PixelData[: 23 * 20 * 2])(data), "size"),
    "rows for columns": (_set(Rows=20, Columns=24), "size"),
}


@pytest.mark.parametrize("where", [0, 6, 11])
@pytest.mark.parametrize("name", ODD)
def test_a_slice_unlike_the_others_is_refused_by_name(tmp_path: Path, name: str, where: int) -> None:
    change, what = ODD[name]
    series = made.slices()
    change(series[where])
    words = _refused(tmp_path / "ct", series)
    assert f"IM{where + 1:04}.dcm differ(s) in {what} from the other 11 slices" in words
    if where == 11:
        volume = read_volume(tmp_path / "ct", Reading(skip_damaged=True))
        assert len(volume.array) == 11 and any("left out" in note for note in volume.notes)


NO_SLICES = {
    "localizer": (_set(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "localizer"),
    "colour": (
        lambda data: _set(SamplesPerPixel=3, PhotometricInterpretation="RGB", PixelData=data.PixelData * 3)(data),
        "colour",
    ),
    "palette": (_set(PhotometricInterpretation="PALETTE COLOR"), "colour"),
    "capture": (_set(SOPClassUID=pydicom.uid.SecondaryCaptureImageStorage), "Secondary Capture"),
    "dose": (_set(SOPClassUID=pydicom.uid.RTDoseStorage, Modality="RTDOSE"), "RT Dose"),
    "segmentation": (_set(SOPClassUID=pydicom.uid.SegmentationStorage, Modality="SEG"), "Segmentation"),
    "projection": (_set(ImageType=["DERIVED", "SECONDARY", "MIP"]), "projection"),
    "PET": (_set(SOPClassUID=pydicom.uid.PositronEmissionTomographyImageStorage, Modality="PT"), "Positron"),
    "modality": (_set(Modality="MR"), "modality MR"),
    "several frames": (lambda data: _set(NumberOfFrames=2, PixelData=data.PixelData * 2)(data), "several frames"),
}


@pytest.mark.parametrize("name", NO_SLICES)
def test_what_is_no_slice_is_left_out_with_a_note_and_refused_alone(tmp_path: Path, name: str) -> None:
    change, what = NO_SLICES[name]
    series = made.slices()
    change(series[11])
    series[11].file_meta.MediaStorageSOPClassUID = series[11].SOPClassUID
    volume = _read(tmp_path / "ct", series)
    assert len(volume.array) == 11
    assert any("left out 1 x" in note and what in note and "IM0012.dcm" in note for note in volume.notes), volume.notes
    assert what in _refused(tmp_path / "alone", series[11:])


@pytest.mark.parametrize(
    "kind", ["BasicTextSRStorage", "RTStructureSetStorage", "GrayscaleSoftcopyPresentationStateStorage"]
)
def test_objects_without_a_picture_are_left_out_with_a_note(tmp_path: Path, kind: str) -> None:
    folder = made.written(tmp_path / "ct", made.slices())
    other = made.slices()[0]
    for name in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(other, name)
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = getattr(pydicom.uid, kind)
    other.Modality = "SR"
    other.save_as(folder / "report", enforce_file_format=True)
    volume = read_volume(folder)
    assert len(volume.array) == 12 and any("left out 1 x" in note for note in volume.notes)


def _shifted(series: Series, across: float, along: float = 0.0) -> Series:
    for index, data in enumerate(series):
        x, y, z = data.ImagePositionPatient
        data.ImagePositionPatient = [x, round(float(y) + across * index, 4), round(float(z) + along * index**2, 4)]
    return series


def test_a_drift_counts_over_the_whole_stack(tmp_path: Path) -> None:
    geometry = Geometry((1.0, 1.0, 0.6))
    shape = (110, 4, 4)
    assert "gantry tilt" in _refused(tmp_path / "a", _shifted(made.slices(geometry, shape), 0.0105))
    assert "gantry tilt" in _refused(tmp_path / "b", _shifted(made.slices(), -0.5))
    assert "unequal spacing" in _refused(tmp_path / "c", _shifted(made.slices(geometry, shape), 0, 0.0002))
    hu = made.values(geometry, shape, air=False) - np.int16(400)
    straight = read_volume(made.written(tmp_path / "d", _shifted(made.slices(geometry, shape, hu), 0.004)))
    assert straight.geometry.spacing_mm == pytest.approx((1, 1, 0.6), abs=1e-3)


def test_positions_rounded_to_a_tenth_do_not_add_up(tmp_path: Path) -> None:
    series = made.slices(Geometry((1.5, 1.5, 0.625)), (40, 24, 20))
    for data in series:
        data.ImagePositionPatient = [round(float(x), 1) for x in data.ImagePositionPatient]
    volume = read_volume(made.written(tmp_path / "ct", series))
    assert volume.geometry.spacing_mm[2] == pytest.approx(0.625, abs=0.003)


def test_patients_and_studies_of_one_series_are_not_merged(tmp_path: Path) -> None:
    for name, value in (("PatientID", "4712"), ("StudyInstanceUID", "1.2.3"), ("PatientName", "Doe^John")):
        series = made.slices()
        setattr(series[5], name, value)
        words = _refused(tmp_path / name, series)
        assert "2 patients or studies" in words and "IM0006.dcm" in words


def test_copies_are_left_out_and_other_files_of_one_slice_refused(tmp_path: Path) -> None:
    series = made.slices()
    volume = _read(tmp_path / "copies", [*series, series[3], series[7]])
    assert any("left out 2 copies" in note for note in volume.notes)
    folder = made.written(tmp_path / "differ", series)
    series[3].PixelData = b"\0" * len(series[3].PixelData)
    series[3].save_as(folder / "again.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match="two different files of one slice"):
        read_volume(folder)


def test_phases_under_one_series_are_refused(tmp_path: Path) -> None:
    first, second = made.slices(), made.slices()
    for one, other in zip(first, second, strict=True):
        other.SeriesInstanceUID, other.StudyInstanceUID = one.SeriesInstanceUID, one.StudyInstanceUID
    assert "each about 2 times" in _refused(tmp_path / "ct", first + second)


def test_missing_slices_are_named(tmp_path: Path) -> None:
    series = made.slices()
    assert "lacks 1 slice(s) between IM0004.dcm and IM0005.dcm" in _refused(tmp_path / "one", series[:4] + series[5:])
    assert "lacks 3 slice(s)" in _refused(tmp_path / "three", series[:4] + series[7:])


JUNK = {
    "empty": b"",
    "html": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "json": b'{"error": "not found"}',
    "text": b"see attached",
    "zeros": b"\0" * 4000,
    "one byte": b"D",
}


@pytest.mark.parametrize("suffix", [".dcm", "", ".IMA", ".7"])
@pytest.mark.parametrize("junk", JUNK)
def test_junk_among_slices_is_refused_by_name_or_skipped_with_a_note(tmp_path: Path, junk: str, suffix: str) -> None:
    folder = made.written(tmp_path / "ct", made.slices()[:11])
    (folder / f"IM0012{suffix}").write_bytes(JUNK[junk])
    with pytest.raises(InputError, match=f"IM0012{suffix}"):
        read_volume(folder)
    volume = read_volume(folder, Reading(skip_damaged=True))
    assert len(volume.array) == 11 and any(f"IM0012{suffix}" in note for note in volume.notes)


@pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("where", [0, 5, 11])
def test_a_slice_that_is_cut_is_refused_by_name(tmp_path: Path, share: float, where: int) -> None:
    folder = made.written(tmp_path / "ct", made.slices())
    path = folder / f"IM{where + 1:04}.dcm"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=path.name):
        read_volume(folder)


def test_companions_are_known_noted_or_refused(tmp_path: Path) -> None:
    folder = made.written(tmp_path / "ct", made.slices())
    for name in (".DS_Store", "Thumbs.db", "README", "README.txt", "ct.json", "DICOMDIR", "._IM0001.dcm", "list.csv"):
        (folder / name).write_bytes(b"{}")
    assert _read(folder, []).notes == _read(tmp_path / "plain", made.slices()).notes
    for name in ("index.html", "viewer.exe", "key.png"):
        (folder / name).write_bytes(b"<html>")
    assert any("3 file(s) that are not DICOM" in note for note in read_volume(folder).notes)
