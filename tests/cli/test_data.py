import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medseg.cli.data import data
from medseg.errors import InputError

PICTURE = "SEG_Train_Datasets/Train_Images/00000000.jpg"
NOTES = "SEG_Train_Datasets/Train_Annotations"
runner = CliRunner()


def phantom(task: str, folder: Path, patients: int = 2) -> Path:
    result = runner.invoke(data, ["phantom", task, "--out", str(folder / task), "--patients", str(patients)])
    assert result.exit_code == 0, result.output
    return folder / task


def check(task: str, folder: Path, code: int) -> dict:
    result = runner.invoke(data, ["check", task, str(folder), "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_phantom_then_check(tmp_path: Path) -> None:
    found = check("stas", phantom("stas", tmp_path), 0)
    assert (found["patients"], found["problems"]) == (2, [])
    assert found["shapes"] == {"471x858x3": 2}
    text = runner.invoke(data, ["check", "stas", str(tmp_path / "stas")]).stdout
    assert "patients: 2" in text
    assert "problems: 0" in text


def test_phantom_does_not_mix_with_other_files(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(InputError, match="not empty"):
        runner.invoke(data, ["phantom", "stas", "--out", str(tmp_path)], catch_exceptions=False)


def test_an_empty_folder_and_an_unknown_task_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no patients of stas"):
        runner.invoke(data, ["check", "stas", str(tmp_path)], catch_exceptions=False)
    with pytest.raises(InputError, match="'heart' is unknown"):
        runner.invoke(data, ["check", "heart", str(tmp_path)], catch_exceptions=False)


def test_stas_every_problem_is_found_with_its_path(tmp_path: Path) -> None:
    folder = phantom("stas", tmp_path, 4)
    notes = folder / NOTES
    picture = folder / PICTURE
    picture.write_bytes(picture.read_bytes()[:2000])
    (notes / "00000001.json").write_text("{}")
    other = json.loads((notes / "00000002.json").read_text())
    (notes / "00000002.json").write_text(json.dumps(other | {"imageHeight": 5}))
    (notes / "00000009.json").write_text(json.dumps(other))
    problems = check("stas", folder, 1)["problems"]
    assert len(problems) == 4
    for path, problem in zip([picture, *(notes / f"0000000{n}.json" for n in (1, 2))], problems, strict=False):
        assert str(path) in problem
    assert "00000009.jpg" in problems[3]


def test_gi_tract_every_problem_is_found_with_its_path(tmp_path: Path) -> None:
    folder = phantom("gi-tract", tmp_path)
    scans = folder / "train/case1/case1_day0/scans"
    first, second, third, fourth = sorted(scans.glob("*.png"))[:4]
    first.write_bytes(b"")
    second.rename(scans / "slice_two.png")
    third.rename(scans / "slice_0003_100_100_1.50_1.50.png")
    table = folder / "train.csv"
    lines = table.read_text().replace("case1_day0_slice_0004,stomach,", "case1_day0_slice_0004,stomach,5 ")
    table.write_text(lines + "case1_day0_slice_0005,spleen,1 2\n")
    problems = check("gi-tract", folder, 1)["problems"]
    for part in (
        first.name,
        "slice_two.png",
        "slice_0003_100_100",
        "case1_day0_slice_0004",
        "'spleen'",
        "lacks 1 slices",
    ):
        assert sum(part in problem for problem in problems) == 1, part
    assert len(problems) == 6
    assert fourth.exists()


def test_brain_every_problem_is_found_with_its_path(tmp_path: Path) -> None:
    folder = phantom("brain-lgg", tmp_path)
    patient = folder / "kaggle_3m/TCGA_PH_0000_20000101"
    (patient / f"{patient.name}_3.tif").unlink()
    (patient / f"{patient.name}_5_mask.tif").unlink()
    (patient / f"{patient.name}_7.tif").write_bytes(b"II*\0")
    problems = check("brain-lgg", folder, 1)["problems"]
    for part in ("_3.tif: missing", "_3_mask.tif: belongs to no picture", "_5_mask.tif: no such file", "_7.tif"):
        assert sum(part in problem for problem in problems) == 1, part
    assert len(problems) == 4


def test_luna_every_problem_is_found_with_its_path(tmp_path: Path) -> None:
    folder = phantom("luna", tmp_path)
    first, second = sorted(folder.glob("subset0/*.mhd"))
    first.with_suffix(".raw").unlink()
    with (folder / "annotations.csv").open("a") as table:
        table.write(f"{second.stem},5000,0,0,8\n")
    problems = check("luna", folder, 1)["problems"]
    assert len(problems) == 2
    assert str(first) in problems[0] or str(first.with_suffix(".raw")) in problems[0]
    assert "annotations.csv" in problems[1]
    assert str(second) in problems[1]
    with (folder / "candidates.csv").open("a") as table:
        table.write(f"{second.stem},x,0,0,1\n")
    assert "'x' is not a number" in check("luna", folder, 1)["problems"][0]
