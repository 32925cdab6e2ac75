"""`medseg sweep`: every combination is fitted once, kept, and ranked."""

import csv
import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from medseg.errors import InputError, MedsegError, RunError
from medseg.run import Run
from medseg.tasks.brain_lgg.phantom import phantom
from medseg.train.sweep import ASKED, RECIPE, _note, finished, grid_from, markdown, named, sweep

MEDSEG = [sys.executable, "-m", "medseg"]


def test_a_grid_is_every_combination():
    assert grid_from(["loss=dice,iou", "weight_decay=0,1e-4"]) == [
        {"loss": "dice", "weight-decay": "0"},
        {"loss": "dice", "weight-decay": "1e-4"},
        {"loss": "iou", "weight-decay": "0"},
        {"loss": "iou", "weight-decay": "1e-4"},
    ]


@pytest.mark.parametrize("word", ["loss", "loss=", "=dice", "loss=dice,"])
def test_a_word_that_is_no_choice_is_refused(word):
    with pytest.raises(InputError, match="expected an option and its values such as loss=dice,iou"):
        grid_from([word])


def run_of(folder: Path, more: list[str], result: dict[str, float] | None, last: bool) -> None:
    """A run of a sweep with --grid loss=dice and these further options, as far as its fit came."""
    recipe = {"loss": "dice", "optimizer": "sgd", "lr": 1e-5, "weight_decay": 2e-4, "schedule": "linear", "epochs": 1}
    run = Run.create(folder, "brain-lgg", {}, {"kind": "train", "recipe": recipe})
    _note(folder, {"network": "brain-lgg", "data": "kaggle", **named(more), "loss": "dice"})
    if result:
        run.record(result=result)
    if last:
        with run.adding("fp32.pt2", {}) as path:
            path.write_text("")


def test_a_row_holds_the_recipe_with_the_score(tmp_path):
    result = {"best_by": "val_dice", "epoch": 7.0, "train_loss": 0.5, "val_loss": 0.25, "val_dice": 0.75}
    run_of(tmp_path / "loss-dice", ["--epochs", "1"], result, last=True)
    (row,) = sweep("brain-lgg", Path("kaggle"), tmp_path, [{"loss": "dice"}], ["--epochs", "1", "--devices", "2"])
    assert row == {
        "loss": "dice",
        "optimizer": "sgd",
        "lr": 1e-5,
        "weight_decay": 2e-4,
        "schedule": "linear",
        "epoch": 7,
        "train_loss": 0.5,
        "val_loss": 0.25,
        "score": 0.75,
        "by": "val_dice",
        "run": "loss-dice",
    }
    assert "| dice | sgd | 1e-05 | 0.0002 | linear | 7 | 0.5000 | 0.2500 | 0.7500 |" in markdown([row])


def test_a_fit_killed_before_its_last_file_is_not_finished(tmp_path):
    run_of(tmp_path / "killed", [], {"val_dice": 0.5}, last=False)
    run_of(tmp_path / "whole", [], {"val_dice": 0.5}, last=True)
    assert not finished(tmp_path / "killed")
    assert finished(tmp_path / "whole")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--epochs", "30", "--lr=1e-3"], "epochs 1; this sweep asks for 30"),
        (["--epochs", "1"], "lr 0.001; this sweep asks for the default"),
        (["--epochs", "1", "--lr", "0.001", "--size", "64"], "size the default; this sweep asks for 64"),
    ],
)
def test_a_run_that_was_asked_for_something_else_is_not_reused(tmp_path, more, words):
    folder = tmp_path / "loss-dice"
    run_of(folder, ["--epochs", "1", "--lr", "0.001"], {"val_dice": 0.5}, last=True)
    with pytest.raises(RunError, match=f"run {folder} was fitted with {words}: choose another --out, or remove"):
        sweep("brain-lgg", Path("kaggle"), tmp_path, [{"loss": "dice"}], more)


BEST = {"best_by": "val_dice", "epoch": 7.0, "train_loss": 0.5, "val_loss": 0.25, "val_dice": 0.75}


@pytest.mark.parametrize("lost", [*product(["recipe"], RECIPE), ("result", "epoch")])
def test_a_finished_run_whose_manifest_lacks_a_column_is_refused_before_any_fit(tmp_path, lost):
    folder, (part, name) = tmp_path / "loss-dice", lost
    run_of(folder, [], dict(BEST), last=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    del (manifest["source"] if part == "recipe" else manifest)[part][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    words = rf"manifest.json cannot be ranked: .*{part} has no entry '{name}'; remove that folder to train it again"
    with pytest.raises(RunError, match=words):
        sweep("brain-lgg", Path("kaggle"), tmp_path, [{"loss": "iou"}, {"loss": "dice"}], [])
    assert not (tmp_path / "loss-iou").exists()


@pytest.mark.parametrize("part", ["result", "recipe"])
@pytest.mark.parametrize("value", [None, [], 1, {}])
def test_a_finished_run_whose_result_or_recipe_is_something_else_is_refused(tmp_path, part, value):
    folder = tmp_path / "loss-dice"
    run_of(folder, [], dict(BEST), last=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    (manifest["source"] if part == "recipe" else manifest)[part] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"manifest\.json (cannot be ranked|is not a run's manifest): "):
        sweep("brain-lgg", Path("kaggle"), tmp_path, [{"loss": "dice"}], [])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"loss": 1}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_note_of_what_was_asked_for_is_told(tmp_path, content):
    run_of(tmp_path / "loss-dice", [], dict(BEST), last=True)
    (tmp_path / "loss-dice" / ASKED).write_bytes(content)
    with pytest.raises(
        RunError, match=r"asked\.json does not say which options its run was started with: .*; remove that folder"
    ):
        sweep("brain-lgg", Path("kaggle"), tmp_path, [{"loss": "dice"}], [])


def test_a_table_holds_runs_of_which_one_lacks_a_loss(tmp_path):
    for name, without in (("dice", "val_loss"), ("iou", "train_loss")):
        run_of(tmp_path / f"loss-{name}", [], {key: value for key, value in BEST.items() if key != without}, last=True)
        _note(tmp_path / f"loss-{name}", {"network": "brain-lgg", "data": "kaggle", "loss": name})
    rows = sweep("brain-lgg", Path("kaggle"), tmp_path, [{"loss": "dice"}, {"loss": "iou"}], [])
    with (tmp_path / "sweep.csv").open() as file:
        assert [(row["train_loss"], row["val_loss"]) for row in csv.DictReader(file)] == [("0.5", ""), ("", "0.25")]
    assert len({line.count("|") for line in markdown(rows).splitlines()}) == 1


def test_a_failed_fit_is_told_with_its_reason(tmp_path):
    with pytest.raises(MedsegError, match=r"fit .*colour-red failed: No such option: --colour"):
        sweep("brain-lgg", tmp_path, tmp_path / "out", [{"colour": "red"}], [])


@pytest.mark.slow
def test_a_sweep_ranks_its_runs_and_goes_on_where_it_stopped(tmp_path):
    phantom(tmp_path / "brains", 3, 0)
    command = [
        *MEDSEG,
        "sweep",
        "brain-lgg",
        tmp_path / "brains",
        "--out",
        tmp_path / "out",
        "--epochs",
        "1",
        "--size",
        "32",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}

    def swept(*grid):
        words = [*command, "--features", "2", "--json", "--grid", *grid]
        return json.loads(subprocess.run(words, env=environment, capture_output=True, check=True).stdout)

    (first,) = swept("loss=dice", "lr=1e-3")
    kept = (tmp_path / "out" / first["run"] / "weights.pt").stat().st_mtime_ns
    rows = swept("loss=dice,iou", "lr=1e-3")
    assert {row["loss"] for row in rows} == {"dice", "iou"}
    assert rows == sorted(rows, key=lambda row: -row["score"])
    assert (tmp_path / "out" / first["run"] / "weights.pt").stat().st_mtime_ns == kept
    with (tmp_path / "out/sweep.csv").open() as file:
        assert [row["run"] for row in csv.DictReader(file)] == [row["run"] for row in rows]
    assert (tmp_path / "out/sweep.md").read_text().count("\n") == 4
