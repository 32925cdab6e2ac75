"""A task's own options come from its records: parsed, bounded, shown and refused by them alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from medseg.cli import task_options
from medseg.cli.main import app
from medseg.cli.task_options import TaskCommand, own, own_parameters
from medseg.errors import InputError, TaskError
from medseg.task import Task
from medseg.tasks import task_named
from tests.plugged import package

OWN = """
from medseg.task import Files, Network, Option, Pipeline, Recipe, Step, Task, Tensor

network = Network("cells", (1, 8, 8), (1, 8, 8), ("cell",), Recipe(1, 1, 1e-3), build=None)
TASK = Task(
    "cells",
    "cells in pictures",
    (network,),
    Pipeline(
        (
            Tensor("picture", "float32", (-1, 1, 8, 8)),
            Tensor("least_area", "float32", (1,), optional=True, values=(0, 500)),
            Tensor("stain", "uint8", (1,), optional=True, values=(0, 2)),
            Tensor("mask", "float32", (-1, 1, 8, 8)),
        ),
        ("picture", "least_area", "stain"),
        (Step("segment", "cells", ("picture",), ("mask",)),),
        ("mask",),
        (network,),
    ),
    Files(lambda path, how: [], lambda *_: [], lambda *_: [], reading=("skip_damaged",), extras={"map": "a heat map"}),
    options=(
        Option("least_area", "leave out smaller cells, in pixels", 20),
        Option("stain", "what they are coloured with", "none", ("none", "he", "ihc")),
    ),
)
"""


@pytest.fixture
def cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    monkeypatch.delitem(sys.modules, "own_options", raising=False)
    monkeypatch.syspath_prepend(package(tmp_path, "cells-medseg", {"cells": "own_options:TASK"}, {"own_options": OWN}))
    return task_named("cells")


def parsed(*words: str) -> typer.Context:
    command = typer.main.get_command(app).commands["predict"]
    context = command.make_context("predict", [*words, "--out", "x", "--url", "http://127.0.0.1:8000"])
    context.meta[task_options._GIVEN] = {one.name: context.params[one.name] for one in context.meta[task_options._OWN]}
    return context


WORDS = {
    "defaults": ([], {"least_area": 20, "stain": "none"}, (), False),
    "a number": (["--least-area", "3.5"], {"least_area": 3.5, "stain": "none"}, (), False),
    "with =": (["--stain=he", "--least-area=500"], {"least_area": 500, "stain": "he"}, (), False),
    "switches": (["--map", "--skip-damaged"], {"least_area": 20, "stain": "none"}, ("map",), True),
}


@pytest.mark.parametrize("kind", WORDS)
@pytest.mark.parametrize("place", ["before", "between", "after"])
def test_they_are_read_wherever_they_stand(kind: str, place: str, cells: Task) -> None:
    words, options, extras, skip = WORDS[kind]
    line = {
        "before": [*words, "cells", "a.png"],
        "between": ["cells", *words, "a.png"],
        "after": ["cells", "a.png", *words],
    }
    found = own(cells, parsed(*line[place]))
    assert (found.options, found.extras, found.reading.skip_damaged) == (options, extras, skip)
    assert found.reading.spacing_mm is None
    tensors = cells.optional_tensors(found.options)
    assert tensors["stain"].dtype == "uint8"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--least-area", "501"], "less than or equal to 500"),
        (["--least-area", "many"], "--least-area"),
        (["--least-area", "nan"], "--least-area"),
        (["--stain", "red"], "'red' is not one of 'none', 'he', 'ihc'"),
        (
            ["--spacing", "1,1,1"],
            "--spacing is not an option of `medseg predict cells`; its own options are --least-area, --stain,",
        ),
        (["--least-aera", "3"], "--least-aera is not an option of `medseg predict cells`"),
    ],
)
def test_what_the_task_does_not_take_is_refused_in_one_sentence(words: list[str], message: str, cells: Task) -> None:
    with pytest.raises((InputError, typer.TyperException)) as caught:
        parsed("cells", "a.png", *words)
    said = getattr(caught.value, "format_message", caught.value.__str__)()
    assert message in said and "\n" not in said


def test_a_task_named_like_the_folder_of_its_answers_is_the_task(cells: Task) -> None:
    command = typer.main.get_command(app).commands["predict"]
    assert isinstance(command, TaskCommand)
    context = command.make_context("predict", ["--out", "luna", "cells", "luna", "--url", "http://127.0.0.1:8000"])
    assert (context.params["task"], context.params["inputs"]) == ("cells", [Path("luna")])


def test_an_option_that_every_task_has_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = OWN.replace("least_area", "engine").replace("own_options", "own_clash")
    monkeypatch.syspath_prepend(package(tmp_path, "clash", {"cells": "own_clash:TASK"}, {"own_clash": text}))
    with pytest.raises(TaskError, match="task 'cells' has an option --engine, which every task has"):
        parsed("cells", "a.png")


def test_help_info_and_the_parser_say_the_same(tmp_path: Path) -> None:
    package(tmp_path, "cells-medseg", {"cells": "own_help:TASK"}, {"own_help": OWN})

    def told(*words: str) -> str:
        command = [sys.executable, "-m", "medseg", *words]
        environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}", "COLUMNS": "200"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    shown = told("predict", "cells", "--help")
    assert "Leave out smaller cells, in pixels." in shown and "0<=x<=500" in shown
    assert "<none|he|ihc>" in shown and "Also write a heat map." in shown and "--skip-damaged" in shown
    assert "--least-area" not in told("predict", "--help") + told("predict", "luna", "--help")
    assert "least_area  leave out smaller cells, in pixels (0 to 500; default 20)" in told("info", "cells")


def test_lunas_options_are_those_it_always_had() -> None:
    flags = [one.opts[0] for one in own_parameters(task_named("luna"))]
    assert flags == ["--threshold", "--roi", "--candidates", "--spacing", "--skip-damaged"]
    found = own(task_named("luna"), parsed("luna", "a.mhd", "--spacing", "0.7,0.7,2.5"))
    assert found.options == {"threshold": 0.5, "roi": "all"}
    assert found.reading.spacing_mm == (0.7, 0.7, 2.5)
    for wrong in ("1,2", "0,1,1", "a,b,c", "1,1,1000", "nan,1,1"):
        with pytest.raises(InputError, match=r"--spacing is '.*'; expected X,Y,Z in mm"):
            _ = own(task_named("luna"), parsed("luna", "a.mhd", "--spacing", wrong)).reading
