"""`medseg evaluate gi-tract --submission`: the competition's table scored as its grader does."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from medseg.cli.evaluate import evaluate
from medseg.data import rle
from medseg.errors import InputError
from medseg.tasks import task_named
from medseg.tasks.gi_tract.networks import GI_TRACT
from tests.metrics.grading import graded

app = typer.Typer()
app.command()(evaluate)
runner = CliRunner()
Rows = list[list[str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gi")
    task_named("gi-tract").known_data("test").phantom(folder, 2, 0)
    return folder


@pytest.fixture(scope="module")
def scans(data: Path) -> dict[str, list]:
    """The phantom's slices by scan, each with its truth (3, row, col)."""
    found: dict[str, list] = {}
    for patient in task_named("gi-tract").known_data("test").patients(data):
        for case in task_named("gi-tract").known_data("test").read(data, patient):
            found.setdefault(case.id.split("_slice_")[0], []).append(case)
    return found


def rows_of(scans: dict[str, list], change: Callable[[np.ndarray, int], np.ndarray]) -> Rows:
    return [
        [case.id, name, rle.encode(change(case.mask, index)[organ])]
        for index, case in enumerate(case for cases in scans.values() for case in cases)
        for organ, name in enumerate(GI_TRACT.classes)
    ]


def moved(mask: np.ndarray, index: int) -> np.ndarray:
    """Another answer for every slice: moved, without an organ, or without anything."""
    return np.roll(mask, index % 5, axis=2) * np.array([index % 3 > 0, 1, index % 7 > 0], np.uint8)[:, None, None]


def written(folder: Path, rows: Rows, encoding: str = "utf-8", separator: str = ",") -> Path:
    path = folder / "submission.csv"
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=separator).writerows([["id", "class", "predicted"], *rows])
    return path


def evaluated(data: Path, path: Path, *more: str) -> str:
    arguments = ["gi-tract", str(data), "--submission", str(path), *more]
    return runner.invoke(app, arguments, catch_exceptions=False).stdout


def test_a_submission_scores_by_the_graders_rule(data: Path, scans: dict[str, list], tmp_path: Path) -> None:
    rows = rows_of(scans, moved)
    path, out = written(tmp_path, rows[::-1]), tmp_path / "report"
    found = json.loads(evaluated(data, path, "--json", "--out", str(out)))
    numbers = iter(range(1000))
    pairs = [
        tuple(
            np.stack(part, 1)
            for part in zip(*((moved(one.mask, next(numbers)), one.mask) for one in cases), strict=True)
        )
        for cases in scans.values()
    ]
    expected = graded(pairs)
    assert {name: found["mean"][name]["mean"] for name in expected} == pytest.approx(expected, abs=1e-12)
    for day, pair in zip(scans, pairs, strict=True):
        assert {name: found["cases"][day][name] for name in expected} == pytest.approx(graded([pair]), abs=1e-12)
    assert 0.2 < expected["score"] < 0.95
    assert (out / "cases.csv").read_text().startswith("case,score,dice,hausdorff")
    assert json.loads((out / "evaluation.json").read_text()) == found
    assert f"score: {expected['score']:.4f} (95 % interval" in evaluated(data, path)


@pytest.mark.parametrize(("encoding", "separator"), [("utf-16", ","), ("utf-8-sig", ";"), ("latin-1", "\t")])
def test_the_truth_itself_is_perfect_in_any_encoding(
    data: Path, scans: dict[str, list], tmp_path: Path, encoding: str, separator: str
) -> None:
    path = written(tmp_path, rows_of(scans, lambda mask, _: mask), encoding, separator)
    assert json.loads(evaluated(data, path, "--json"))["mean"]["score"]["mean"] == 1


def test_rows_of_other_slices_do_not_count_and_a_note_says_so(
    data: Path, scans: dict[str, list], tmp_path: Path
) -> None:
    rows = rows_of(scans, lambda mask, _: mask)
    path = written(tmp_path, [*rows, ["case999_day0_slice_0001", "stomach", "1 5"]])
    assert f"note: 1 of {len(rows) + 1} rows are of slices that" in evaluated(data, path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda rows: rows[1:], "no row for 1 of"),
        (lambda rows: [], "no row for"),
        (lambda rows: [*rows, rows[0]], "is a second row of this slice and class"),
        (lambda rows: [[rows[0][0], "Stomach", ""], *rows[1:]], "has the class 'Stomach'; expected one of large_bowel"),
        (lambda rows: [[*rows[0][:2], "1 2 3"], *rows[1:]], "expected pairs of start and length"),
        (lambda rows: [[*rows[0][:2], "0 2"], *rows[1:]], "starts that count from 1"),
        (lambda rows: [[*rows[0][:2], "1 99999999"], *rows[1:]], "expected runs inside"),
        (lambda rows: [[*rows[0][:2], "[1, 2]"], *rows[1:]], "whole numbers"),
    ],
)
def test_a_wrong_submission_is_one_sentence(
    data: Path, scans: dict[str, list], tmp_path: Path, spoil: Callable[[Rows], Rows], words: str
) -> None:
    path = written(tmp_path, spoil(rows_of(scans, lambda mask, _: mask)))
    with pytest.raises(InputError, match=words) as error:
        evaluated(data, path)
    assert str(path) in str(error.value)


def test_train_csv_is_no_submission_and_a_folder_without_truth_has_no_score(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no column predicted"):
        evaluated(data, data / "train.csv")
    with pytest.raises(InputError, match=r"no slices that its train\.csv lists"):
        evaluated(tmp_path, data / "train.csv")
