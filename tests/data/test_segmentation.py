"""DICOM-SEG written over a real CT series, and read back."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

pytest.importorskip("highdicom")
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from medseg import __version__
from medseg.cli.main import app
from medseg.data.segmentation import Segment, obstacle, read_segmentation, write_segmentation
from medseg.data.volume import read_volume
from medseg.errors import InputError
from medseg.run import Run
from medseg.task import Geometry
from tests.data.oriented import write_series
from tests.shared import SHARED, needs_shared

CT = SHARED / "data" / "dicom" / "ct_jpeg2000"
PATIENT = "Doe^Jane"


def series_files(folder: Path) -> list[Path]:
    return list(read_volume(folder).files)


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


NODULE = ("27925004", "SCT", "Nodule")


@needs_shared
def test_segments_come_back_on_their_slices(series: Path, tmp_path: Path) -> None:
    volume, files = read_volume(series), series_files(series)
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[3:5, 100:120, 200:260] = 2
    labels[4, 100:120, 260:270] = 1  # touches it
    labels[17, 5, 7] = 3
    names = ["Nodule 1", "Nodule 2", "Nodule 3"]
    write_segmentation(
        tmp_path / "mask.dcm",
        labels,
        files,
        volume.geometry,
        [Segment(name, code=NODULE, abnormal=True) for name in names],
    )
    assert np.array_equal(read_segmentation(tmp_path / "mask.dcm", volume.geometry, labels.shape), labels)
    written, source = pydicom.dcmread(tmp_path / "mask.dcm"), pydicom.dcmread(files[0])
    assert written.Modality == "SEG" and written.NumberOfFrames == 4
    for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert written[name].value == source[name].value
    referred = {
        item.ReferencedSOPInstanceUID for item in written.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referred == {pydicom.dcmread(file).SOPInstanceUID for file in files}
    segments = written.SegmentSequence
    assert [one.SegmentLabel for one in segments] == [one.TrackingID for one in segments] == names
    assert (
        len({one.TrackingUID for one in segments})
        == len({tuple(one.RecommendedDisplayCIELabValue) for one in segments})
        == 3
    )
    for one in segments:
        algorithm = one.SegmentationAlgorithmIdentificationSequence[0]
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("medseg", __version__)
        assert one.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Nodule"


@needs_shared
def test_nothing_is_no_segmentation(series: Path, tmp_path: Path) -> None:
    volume = read_volume(series)
    empty = np.zeros(volume.array.shape, np.uint8)
    with pytest.raises(InputError, match="nothing is segmented"):
        write_segmentation(tmp_path / "mask.dcm", empty, series_files(series), volume.geometry, [])
    assert not list(tmp_path.iterdir())


@needs_shared
def test_a_mask_that_would_lie_elsewhere_is_not_written(series: Path, tmp_path: Path) -> None:
    volume, files = read_volume(series), series_files(series)
    mask = np.zeros(volume.array.shape, np.uint8)
    mask[3, 10, 10] = 1
    spacing, origin = volume.geometry.spacing_mm, volume.geometry.origin_mm
    shifted = Geometry(spacing, (origin[0], origin[1], origin[2] + spacing[2]), volume.geometry.direction)
    with pytest.raises(InputError, match="would not lie where the CT does"):
        write_segmentation(tmp_path / "mask.dcm", mask, files, shifted, [Segment("test")])
    with pytest.raises(InputError, match="would not lie where the CT does"):
        write_segmentation(tmp_path / "mask.dcm", mask, files[::-1], volume.geometry, [Segment("test")])
    turned = Geometry(spacing, origin, (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    with pytest.raises(InputError, match="turned or spaced unlike"):
        write_segmentation(tmp_path / "mask.dcm", mask, files, turned, [Segment("test")])
    assert not list(tmp_path.iterdir())


@needs_shared
def test_predict_writes_it_and_tells_nobody_the_patients_name(
    series: Path, luna_runs: list[Run], tmp_path: Path
) -> None:
    small = tmp_path / "ct"
    small.mkdir()
    for path, pixels in zip(series_files(series)[:6], read_volume(series).array, strict=False):
        _cropped(path, pixels[200:264, 200:264]).save_as(small / path.name)
    runs = [word for run in luna_runs for word in ("--run", str(run.path))]
    done = CliRunner().invoke(
        app, ["predict", "luna", str(small), *runs, "--out", str(tmp_path / "out"), "--threshold", "0"]
    )
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "out" / "mask.dcm") in done.stdout
    texts = [done.output, *(path.read_text() for path in (tmp_path / "out").glob("nodules.*") if path.suffix != ".png")]
    assert not any(word in text for text in texts for word in ("Doe", "Jane", "4711"))
    volume = read_volume(small)
    nifti = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "mask.nii.gz")))
    assert nifti.any()
    assert np.array_equal(read_segmentation(tmp_path / "out" / "mask.dcm", volume.geometry, nifti.shape), nifti)


@needs_shared
def test_slices_that_cannot_be_referred_to_are_said() -> None:
    assert obstacle(series_files(CT)).startswith("its slices have no StudyInstanceUID, SeriesInstanceUID")


SECRET = "A SECRET far too long for what stands there, and no date"
VALIDATED = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime")
FIELDS = (
    *VALIDATED,
    *(
        "AccessionNumber",
        "PatientName",
        "PatientID",
        "StudyID",
        "ReferringPhysicianName",
        "PatientAge",
        "SliceThickness",
    ),
)
WHERE = Geometry((1.5, 1.25, 2.0), (-20.0, -15.0, -12.0))


def _made_up(folder: Path, **changes: object) -> tuple[list[Path], np.ndarray]:
    """A small series with these attributes, and labels on it."""
    hu = np.random.default_rng(0).integers(-1000, 200, (6, 24, 20)).astype(np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[2:4, 3:9, 5:12] = 1
    return series_files(write_series(folder, hu, WHERE, **changes)), labels


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fields", [FIELDS, *([field] for field in FIELDS)], ids=lambda fields: "+".join(fields)[:20])
@pytest.mark.parametrize("value", [SECRET, "", None], ids=["odd", "empty", "absent"])
def test_odd_empty_and_absent_headers_are_no_obstacle(tmp_path: Path, fields: list[str], value: str | None) -> None:
    """What DICOM lets be empty is empty where it is not valid; nothing else is changed."""
    if value == SECRET:
        fields = [field for field in fields if field != "SliceThickness"]  # a number, which pydicom does not let be odd
    files, labels = _made_up(tmp_path / "ct", **dict.fromkeys(fields, value))
    write_segmentation(tmp_path / "mask.dcm", labels, files, WHERE, [Segment("Nodule 1")])
    written = pydicom.dcmread(tmp_path / "mask.dcm")
    assert np.array_equal(read_segmentation(tmp_path / "mask.dcm", WHERE, labels.shape), labels)
    for field in set(fields) & set(VALIDATED):
        assert not written[field].value
    assert written.StudyInstanceUID == pydicom.dcmread(files[0]).StudyInstanceUID


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("FrameOfReferenceUID", "1.2.3", "differ in FrameOfReferenceUID"),
        ("FrameOfReferenceUID", "", "have no FrameOfReferenceUID"),
        ("FrameOfReferenceUID", None, "have no FrameOfReferenceUID"),
        ("StudyInstanceUID", "1.2.3", "differ in StudyInstanceUID"),
        ("SOPInstanceUID", "1.2.3", "have the same SOPInstanceUID"),
        ("SOPInstanceUID", None, "have no SOPInstanceUID"),
    ],
)
def test_what_a_segmentation_must_refer_to_is_looked_at_in_every_slice(
    tmp_path: Path, field: str, value: str | None, reason: str
) -> None:
    files, labels = _made_up(tmp_path / "ct")
    for file in (files[2], files[5]):
        data = pydicom.dcmread(file)
        setattr(data, field, value)
        if value is None:
            delattr(data, field)
        data.save_as(file, enforce_file_format=False)
    found = obstacle(files)
    assert reason in found and "1.2.3" not in found
    with pytest.raises(InputError, match=reason):
        write_segmentation(tmp_path / "mask.dcm", labels, files, WHERE, [Segment("Nodule 1")])
