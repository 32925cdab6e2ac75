"""Names of answers: no patient's answer takes another's place, and no earlier one is lost."""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from medseg.api.predict import Asked, predictions
from medseg.api.predictor import Ask
from medseg.api.sources import Destination, check_new, distinct, found
from medseg.errors import InputError
from medseg.task import Reading, Source, Tensors
from medseg.tasks import task_named
from tests.shared import SHARED, needs_shared

GI = task_named("gi-tract")


def _named(*paths: str) -> list[Source]:
    return [
        Source(Path(path), Path(path.removesuffix(".gz")).stem, lambda: pytest.fail("not read yet")) for path in paths
    ]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/d/a.nii.gz", "/d/b.nii.gz"], ["a", "b"]),
        (["/d/s0000/ct.nii.gz", "/d/s0001/ct.nii.gz"], ["s0000_ct", "s0001_ct"]),
        (["/d/s0/ct.nii.gz", "/d/s1/ct.nii.gz", "/d/other.mhd"], ["s0_ct", "s1_ct", "other"]),
        (["/d/p1/scan/ct", "/d/p2/scan/ct"], ["p1_scan_ct", "p2_scan_ct"]),
        (["/d/1.jpg", "/d/1.png"], ["1_jpg", "1_png"]),
        (["/d/ct.nii.gz", "/d/ct.mhd"], ["ct_nii", "ct_mhd"]),
        (["/d/a/1.jpg", "/d/a/1.png", "/d/b/1.jpg"], ["a_1_jpg", "a_1_png", "b_1_jpg"]),
        (["/d/a/CT.nii", "/d/b/ct.nii"], ["a_CT", "b_ct"]),
        (["/a/x/ct.mhd", "/b/x/ct.mhd", "/b/y/ct.mhd"], ["a_x_ct", "b_x_ct", "b_y_ct"]),
    ],
)
def test_sources_of_one_name_are_named_by_what_tells_them_apart(paths: list[str], names: list[str]) -> None:
    assert distinct(_named(*paths)) == names


@pytest.mark.parametrize(
    "paths", [["/d/ct.mhd", "/d/ct.mhd"], ["/d/a/ct.mhd", "/d/b/ct.mhd", "/d/a_ct.mhd"], ["/d/a/x.png", "/d/A/x.png"]]
)
def test_what_cannot_be_told_apart_is_refused(paths: list[str]) -> None:
    with pytest.raises(InputError, match="would be named"):
        distinct(_named(*paths))


def _slices(folder: Path, days: Sequence[str]) -> list[Path]:
    """The same file name in a flat folder for each day, with its own picture."""
    GI.known_data("test").phantom(folder / "made", len(days), 0)
    pictures = sorted((folder / "made").rglob("*.png"))[:: len(days)]
    for day, picture in zip(days, pictures, strict=False):
        (folder / day).mkdir()
        shutil.copy(picture, folder / day / "slice_0001.png")
    return [folder / day / "slice_0001.png" for day in days]


def _answer(tensors: Tensors) -> Tensors:
    return GI.pipeline(tensors, lambda _: lambda batch: 20 * batch - 8)


def _predict(inputs: Sequence[Path], where: Destination, ask: Ask = _answer) -> list[list[Path]]:
    listed = found(GI, inputs, Reading())
    check_new(GI, listed, where)
    return [paths for _, paths in predictions(GI, listed, ask, where, Asked())]


def test_flat_slices_of_several_days_get_rows_and_pictures_each(tmp_path: Path) -> None:
    _predict(_slices(tmp_path, ["day1", "day2", "day3"]), Destination(tmp_path / "out"))
    with (tmp_path / "out" / "submission.csv").open() as table:
        names = {row["id"] for row in csv.DictReader(table)}
    assert names == {f"day{day}_slice_0001" for day in (1, 2, 3)}
    assert {path.name for path in (tmp_path / "out").glob("*_mask.png")} == {f"{name}_mask.png" for name in names}


def test_an_earlier_answer_is_kept_unless_it_may_be_overwritten(tmp_path: Path) -> None:
    inputs = _slices(tmp_path, ["day1"])
    ((_, mask, _),) = _predict(inputs, Destination(tmp_path / "out"))
    before = mask.read_bytes()
    with pytest.raises(InputError, match=r"of an earlier answer would be overwritten.*--overwrite"):
        _predict(inputs, Destination(tmp_path / "out"), lambda _: pytest.fail("refused before it is computed"))
    mask.unlink()
    with pytest.raises(InputError, match=r"submission\.csv and 1 other"):  # the slice's rows are an answer too
        _predict(inputs, Destination(tmp_path / "out"))
    _predict(inputs, Destination(tmp_path / "out", overwrite=True))
    assert mask.read_bytes() == before


def _outlined(tensors: Tensors) -> Tensors:
    return task_named("brain-lgg").pipeline(tensors, lambda _: lambda batch: batch[:, 1:2])


def test_what_an_earlier_answer_had_beside_does_not_outlive_it(tmp_path: Path) -> None:
    brain = task_named("brain-lgg")
    brain.known_data("test").phantom(tmp_path / "data", 2, 0)
    one, two = found(brain, [tmp_path / "data" / "kaggle_3m"], Reading())
    where = Destination(tmp_path / "out", overwrite=True)
    for source in (one, two):
        ((_, written),) = predictions(
            brain,
            [source],
            lambda tensors: brain.pipeline(tensors, lambda _: lambda batch: batch[:, 1:2]),
            where,
            Asked(),
        )
    assert set(where.folder.iterdir()) == set(written)


@needs_shared
def test_two_cts_of_one_name_are_answered_apart() -> None:
    inputs = [SHARED / "cases" / "05-same-name-nifti" / name / "ct.nii.gz" for name in ("s0000", "s0001")]
    listed = found(task_named("luna"), inputs, Reading())
    assert [one.name for one in listed if isinstance(one, Source)] == ["s0000_ct", "s0001_ct"]
