"""LUNA's answer as files: the listed nodules, numbered alike in every one of them, and what is said beside."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from medseg.data.volume import read_volume
from medseg.errors import RunError
from medseg.task import Array, Geometry, Infer, Reading, Request, Tensors
from medseg.tasks.luna import TASK
from medseg.tasks.luna.pieces import labels, nodules_of, runs_of, voxels_of
from medseg.tasks.luna.split import group, opened
from tests.data import oriented
from tests.shared import SHARED, needs_shared

WHERE = Geometry((0.8, 0.9, 2.5), (-11.0, 7.0, 33.0))
CORNERS = [(17, 26, 26), (24, 34, 26), (22, 27, 38)]  # of three lumps, small, middle and large


def _ct() -> Array:
    hu = np.random.default_rng(3).normal(-850, 20, (48, 64, 68))
    for size, corner in zip((4, 6, 8), CORNERS, strict=True):
        hu[tuple(slice(start, start + size) for start in corner)] = 50
    return hu.astype(np.int16)


def _networks(name: str) -> Infer:
    """What is dense is a candidate; all but the small lump are nodules, the large one the most probable."""
    if name == "luna-malignancy":
        raise RunError(name)
    return _dense if name == "luna-segment" else _probable


def _dense(slices: Array) -> Array:
    return (slices[:, 3:4] + 300).astype(np.float32)


def _probable(crops: Array) -> Array:
    around = (crops[:, 0, 12:20, 20:28, 20:28] > -300).sum((1, 2, 3))
    return np.stack([0 * around, around / 100 - 1.5], 1).astype(np.float32)


def _written(
    path: Path, folder: Path, change: Tensors | None = None, **more: object
) -> tuple[dict[str, Path], list[str]]:
    """The files of an answer by name, and what was told while they were written."""
    (source,) = TASK.files.sources(path, Reading())
    told: list[str] = []
    request = replace(source.load(), tell=told.append, **more)
    answer = TASK.pipeline(dict(request.tensors) | (change or {}), _networks)
    folder.mkdir(parents=True, exist_ok=True)
    return {path.name: path for path in TASK.files.write(request, answer, folder)}, told


def _image(path: Path) -> Array:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


@pytest.mark.parametrize("kind", ["mhd", "dicom"])
def test_every_file_numbers_the_same_nodules(tmp_path: Path, kind: str) -> None:
    path = oriented.write(tmp_path / "in", kind, _ct(), WHERE)
    files, told = _written(path, tmp_path / "out")
    with files["nodules.csv"].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["nodule"] for row in rows] == ["1", "2"] and not told
    assert [row["nodule"] for row in json.loads(files["nodules.json"].read_text())["nodules"]] == [1, 2]
    mask = _image(files["mask.nii.gz"])
    assert mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 1, 2}
    for row, corner, size in zip(rows, CORNERS[:0:-1], (8, 6), strict=True):
        voxel = tuple(round(float(row[f"center_{axis}"])) for axis in ("index", "row", "col"))
        assert mask[voxel] == int(row["nodule"])
        assert all(start < at < start + size for at, start in zip(voxel, corner, strict=True))
        assert (mask == int(row["nodule"])).sum() > (size - 2) ** 3
    assert "candidates.nii.gz" not in files
    if kind == "dicom":
        from medseg.data.segmentation import read_segmentation

        assert np.array_equal(read_segmentation(files["mask.dcm"], read_volume(path).geometry, mask.shape), mask)
        segments = pydicom.dcmread(files["mask.dcm"]).SegmentSequence
        assert [(one.SegmentNumber, one.SegmentLabel) for one in segments] == [(1, "Nodule 1"), (2, "Nodule 2")]


def test_everything_that_was_looked_at_comes_on_request(tmp_path: Path) -> None:
    path = oriented.write(tmp_path / "in", "nrrd", _ct(), WHERE)
    files, _ = _written(path, tmp_path / "out", extras=("candidates",))
    assert np.array_equal(_image(files["candidates.nii.gz"]), opened(_ct() > -300))


def test_no_nodule_is_no_segmentation_and_is_said(tmp_path: Path) -> None:
    path = oriented.write(tmp_path / "in", "dicom", _ct(), WHERE)
    files, told = _written(path, tmp_path / "out", {"threshold": np.ones(1, np.float32)})
    assert sorted(files) == ["mask.nii.gz", "nodules.csv", "nodules.json", "nodules.png"]
    assert len(told) == 1 and "no mask.dcm: 0 nodules are listed" in told[0]
    assert not _image(files["mask.nii.gz"]).any()


ODD = {
    "no patient": {"PatientID": None, "PatientName": None, "PatientBirthDate": None, "PatientSex": None},
    "odd patient": {"PatientBirthDate": "unknown", "PatientSex": "female", "StudyDate": "yesterday"},
    "no study ids": {"StudyID": None, "AccessionNumber": None, "StudyDate": None, "StudyTime": None},
    "empty": dict.fromkeys(("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID"), ""),
    "no series number": {"SeriesNumber": None, "InstanceNumber": None},
}


@pytest.mark.parametrize("name", ODD)
def test_odd_headers_cost_no_file(tmp_path: Path, name: str) -> None:
    files, told = _written(oriented.write_series(tmp_path / "in", _ct(), WHERE, **ODD[name]), tmp_path / "out")
    assert "mask.dcm" in files and not told


@pytest.mark.parametrize("field", ["FrameOfReferenceUID", "StudyInstanceUID"])
def test_what_no_segmentation_can_refer_to_is_said_beside_a_whole_answer(tmp_path: Path, field: str) -> None:
    path = oriented.write_series(tmp_path / "in", _ct(), WHERE, **{field: None})
    files, told = _written(path, tmp_path / "out")
    assert sorted(files) == ["mask.nii.gz", "nodules.csv", "nodules.json", "nodules.png"]
    assert len(told) == 1 and "no mask.dcm: its slices have no" in told[0] and field in told[0]
    assert json.loads(files["nodules.json"].read_text())["notes"][-1] in told[0]


def test_whatever_a_library_stumbles_over_costs_mask_dcm_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object, **__: object) -> None:
        raise RuntimeError("Doe^Jane")

    monkeypatch.setattr("highdicom.seg.Segmentation", stumble)
    files, told = _written(oriented.write(tmp_path / "in", "dicom", _ct(), WHERE), tmp_path / "out")
    assert "nodules.csv" in files and "mask.dcm" not in files
    assert "RuntimeError" in told[0] and "Doe" not in told[0]


def test_the_answer_says_what_was_asked_and_what_answered(tmp_path: Path) -> None:
    path = oriented.write(tmp_path / "in", "dicom", _ct(), WHERE)
    files, _ = _written(path, tmp_path / "out", made_by={"medseg": "1", "runs": []})
    about = json.loads(files["nodules.json"].read_text())
    assert about["made_by"] == {"medseg": "1", "runs": []}
    assert about["ct"]["series"]["number"] == "3" and len(about["ct"]["series"]["uid_sha256"]) == 64
    header, text = pydicom.dcmread(next(path.iterdir())), files["nodules.json"].read_text()
    for secret in (header.SeriesInstanceUID, header.StudyInstanceUID, "4711", "Jane", "19500101"):
        assert str(secret) not in text
    other, _ = _written(oriented.write(tmp_path / "again", "mhd", _ct(), WHERE), tmp_path / "other")
    assert json.loads(other["nodules.json"].read_text())["ct"]["voxels_sha256"] == about["ct"]["voxels_sha256"]


DOUBTFUL = {
    "thick slices": (Geometry((0.8, 0.9, 5.0)), "voxels are 0.8 x 0.9 x 5.0 mm"),
    "coronal, thick from front to back": (
        Geometry((0.8, 0.9, 5.0), direction=(1, 0, 0, 0, 0, 1, 0, -1, 0)),
        "voxels are 0.8 x 5.0 x 0.9 mm",
    ),
    "coarse": (Geometry((4.0, 4.0, 4.0)), "voxels are 4.0 x 4.0 x 4.0 mm"),
    "turned": (Geometry((0.8, 0.9, 2.5), direction=(0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1)), "turned by 37 degrees"),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_doubtful_answer_says_why(tmp_path: Path, name: str) -> None:
    geometry, words = DOUBTFUL[name]
    files, told = _written(oriented.write(tmp_path / "in", "nrrd", _ct(), geometry), tmp_path / "out")
    assert len(told) == 1 and words in told[0] and "nodules may be missed" in told[0]
    assert words in json.loads(files["nodules.json"].read_text())["notes"][0]


def test_a_voxel_between_two_pieces_belongs_to_the_first_in_the_list() -> None:
    mask = np.zeros((5, 5, 9), bool)
    for centre in ((2, 2, 2), (2, 2, 4), (2, 2, 7)):  # balls of seven voxels: the first two share one
        for axis in range(3):
            place = np.array([centre] * 3)
            place[:, axis] += [-1, 0, 1]
            mask[tuple(place.T)] = True
    found = group(np.zeros(mask.shape, np.int16), mask)
    pieces = runs_of(found.places, found.owners)
    assert len(found.centres) == 3 and (found.sizes == 7).all()
    for listed in ([0, 1, 2], [1, 0, 2], [2, 1], [0]):
        volume = labels(nodules_of(pieces, np.array(listed)), mask.shape)
        first = [number for number, candidate in enumerate(listed, 1) if candidate in (0, 1)][:1]
        assert volume[2, 2, 3] == (first[0] if first else 0)
        assert [(volume == number).sum() for number in range(1, len(listed) + 1)] == [
            7 - (candidate in (0, 1) and number not in first) for number, candidate in enumerate(listed, 1)
        ]


def _random_voxels() -> Iterator[tuple[Array, Array]]:
    rng = np.random.default_rng(0)
    for count in (0, 1, 50, 700):
        places = rng.choice(1000, count, replace=False)
        yield places, rng.integers(1, 400, count)


def test_runs_hold_every_voxel_with_its_number() -> None:
    for places, numbers in _random_voxels():
        runs = runs_of(places, numbers)
        back, again = voxels_of(runs)
        assert dict(zip(back.tolist(), again.tolist(), strict=True)) == dict(
            zip(places.tolist(), numbers.tolist(), strict=True)
        )
        volume = labels(runs, (10, 10, 10))
        assert np.array_equal(volume.reshape(-1)[places], numbers) and (volume > 0).sum() == len(places)
        flat = np.zeros(1000, int)  # as docs/serving.md says, in any language
        for start, length, number in runs.tolist():
            flat[start : start + length] = number
        assert np.array_equal(flat, volume.reshape(-1))


@needs_shared
def test_case_06_has_the_same_nodules_in_both_orders(tmp_path: Path) -> None:
    folder = SHARED / "cases/06-axes-PIR"
    places, masks = [], []
    for name in ("axial", "PIR"):
        (source,) = TASK.files.sources(folder / f"{name}.nii.gz", Reading())
        answer = TASK.pipeline(source.load().tensors, _networks)
        paths = TASK.files.write(source.load(), answer, tmp_path)
        places.append(answer["nodules"][:, :3])
        image = SimpleITK.ReadImage(str(next(path for path in paths if path.name == "mask.nii.gz")))
        masks.append(SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(image, "LPS")))
    assert len(places[0]) > 0 and np.abs(places[0] - places[1]).max() < 0.01
    assert np.array_equal(*masks) and masks[0].any()


@needs_shared
@pytest.mark.parametrize("case", ["18-no-patient-id", "15-enhanced-ct"])
def test_a_series_without_a_patient_and_one_of_frames_have_their_segmentation(tmp_path: Path, case: str) -> None:
    path = SHARED / "cases" / case / "ct"
    (source,) = TASK.files.sources(path, Reading())
    request: Request = source.load()
    answer = TASK.pipeline(request.tensors, _everything)
    files = {path.name for path in TASK.files.write(request, answer, tmp_path)}
    assert "mask.dcm" in files


def _everything(name: str) -> Infer:
    """All is a candidate, and every candidate a nodule."""
    if name == "luna-malignancy":
        raise RunError(name)
    if name == "luna-segment":
        return lambda slices: np.ones_like(slices[:, :1])
    return lambda crops: np.tile(np.array([[-3, 3]], np.float32), (len(crops), 1))
