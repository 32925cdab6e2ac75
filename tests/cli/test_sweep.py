"""`medseg sweep`: every combination is fitted once, kept, and ranked."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.errors import InputError
from medseg.tasks.brain_lgg.phantom import phantom
from medseg.train.sweep import grid_from

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

    def sweep(*grid):
        words = [*command, "--features", "2", "--json", "--grid", *grid]
        return json.loads(subprocess.run(words, env=environment, capture_output=True, check=True).stdout)

    (first,) = sweep("loss=dice", "lr=1e-3")
    kept = (tmp_path / "out" / first["run"] / "weights.pt").stat().st_mtime_ns
    rows = sweep("loss=dice,iou", "lr=1e-3")
    assert {row["loss"] for row in rows} == {"dice", "iou"}
    assert rows == sorted(rows, key=lambda row: -row["score"])
    assert (tmp_path / "out" / first["run"] / "weights.pt").stat().st_mtime_ns == kept
    with (tmp_path / "out/sweep.csv").open() as file:
        assert [row["run"] for row in csv.DictReader(file)] == [row["run"] for row in rows]
    assert (tmp_path / "out/sweep.md").read_text().count("\n") == 4
