"""Tasks of other packages are found by their entry points; a broken one is one sentence and harms no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.errors import InputError, TaskError
from medseg.tasks import network_named, task_named, task_names, task_of, training_of
from tests.plugged import package

FINE = """
from medseg.task import Files, Network, Pipeline, Recipe, Step, Task, Tensor

def made(name, *networks, **more):
    recipe = Recipe(1, 1, 1e-3)
    known = tuple(Network(one, (1, 8, 8), (1, 8, 8), ("thing",), recipe, build=None) for one in networks)
    wires = (Tensor("picture", "float32", (-1, 1, 8, 8)), Tensor("mask", "float32", (-1, 1, 8, 8)))
    pipeline = Pipeline(wires, ("picture",), (Step("segment", networks[0], ("picture",), ("mask",)),), ("mask",), known)
    fields = {"files": Files(lambda path, how: [], lambda *_: [], lambda *_: [])} | more
    return Task(name, "made up", known, pipeline, **fields)
"""
TWO = (  # with a pipeline of its own
    FINE.replace("{", "{{").replace("}", "}}") + "\nfrom dataclasses import replace\nONE = made('cells', 'cells')\n"
    "WIRES = (*ONE.pipeline.tensors, Tensor('middle', 'float32', (-1, 1, 8, 8)))\n"
    "TASK = replace(ONE, pipeline=replace(ONE.pipeline, tensors=WIRES, steps={steps}))\n"
)
OWN = f"{FINE}\nTASK = made('cells', 'cells', 'cells-large')\n"


def test_a_task_of_another_package_is_one_of_medsegs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package(tmp_path, "cells-medseg", {"cells": "cells_a:TASK"}, {"cells_a": OWN}))
    assert task_names() == sorted([*task_names(), "cells"][:-1])
    assert {"cells", "luna", "stas"} <= set(task_names())
    assert task_named("cells").title == "made up"
    assert network_named("cells-large").classes == ("thing",)
    assert task_of(network_named("cells")) == "cells"
    with pytest.raises(InputError, match="'cells' has no data layout, so it cannot train"):
        training_of(network_named("cells"), "train")
    with pytest.raises(InputError, match=r"'cells-small' is unknown; expected one of cells, cells-large: did you mean"):
        network_named("cells-small")
    with pytest.raises(InputError, match=r"'bones' is unknown; expected one of brain-lgg, cells, .*luna-segment"):
        network_named("bones")


def test_a_task_that_nobody_asks_for_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(package(tmp_path, "late", {"late": "late_a:TASK"}, {"late_a": "raise SystemError"}))
    assert task_named("luna").name == "luna"
    assert network_named("luna-nodule").classes
    assert "late_a" not in sys.modules


BROKEN = {
    "an import that fails": ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
    "a module that is none": ("def", "SyntaxError: invalid syntax"),
    "several lines": ("raise ValueError('one\\ntwo')", "ValueError: one; repair"),
    "no task": ("TASKS = []", "AttributeError: .*has no attribute 'TASK'"),
    "another kind": ("TASK = 'cells'", "is a str; expected a medseg.task.Task"),
    "another name": (f"{FINE}\nTASK = made('cell', 'cells')", "calls itself 'cell'; expected the name under which"),
    "a network of luna": (f"{FINE}\nTASK = made('cells', 'luna-segment')", "whose name belongs to task 'luna'"),
    "a network of nobody": (f"{FINE}\nTASK = made('cells', 'resnet')", "no task is found by; expected 'cells', or"),
    "two of a name": (f"{FINE}\nTASK = made('cells', 'cells', 'cells')", "has 2 networks 'cells'; expected one"),
    "an unknown option": (
        f"{FINE}\nfrom medseg.task import Option\nTASK = made('cells', 'cells', options=(Option('roi', '', 1),))",
        "names options that it does not have, 'roi'; expected one of picture",
    ),
    "an unknown optional network": (
        f"{FINE}\nTASK = made('cells', 'cells', optional=('cells-2',))",
        "names networks that are optional that it does not have, 'cells-2'",
    ),
    "an unknown step": (
        f"{FINE}\nfrom medseg.data.encoded import RGB\nfrom medseg.task import Decode\n"
        "TASK = made('cells', 'cells', decoding={'decode': Decode(RGB, 'picture')})",
        "names steps that decode that it does not have, 'decode'; expected one of segment",
    ),
    "a wire that is none": (
        TWO.format(steps="(Step('segment', 'cells', ('picture',), ('logits',)),)"),
        "has a step 'segment' with 'logits', which is not a Tensor",
    ),
    "a wire that is not made": (
        TWO.format(steps="(Step('segment', 'cells', ('middle',), ('mask',)),)"),
        "has a step 'segment' that takes 'middle' before it is made",
    ),
    "an output that feeds a step": (
        TWO.format(
            steps="(Step('segment', 'cells', ('picture',), ('mask',)), Step('more', 'cells', ('mask',), ('middle',)))"
        ),
        "has a step 'more' that takes the output 'mask'; expected outputs that feed no step",
    ),
    "no output": (
        TWO.format(steps="(Step('segment', 'cells', ('picture',), ('middle',)),)"),
        "has an output 'mask' that no step makes",
    ),
    "another output": (
        f"{FINE}\nfrom medseg.data.encoded import RGB\nfrom medseg.task import Decode\n"
        "TASK = made('cells', 'cells', decoding={'segment': Decode(RGB, 'picture')})",
        "decodes to 'picture' in step 'segment', which makes mask",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_task_is_one_sentence(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, reason = BROKEN[kind]
    module = f"broken_{list(BROKEN).index(kind)}"
    monkeypatch.syspath_prepend(package(tmp_path, "cells-medseg", {"cells": f"{module}:TASK"}, {module: text}))
    for asked in (task_named, network_named):
        with pytest.raises(TaskError, match=reason) as caught:
            asked("cells")
        assert "\n" not in str(caught.value)
        assert "cells-medseg 1.0" in str(caught.value)
    assert network_named("stas-eca-nfnet-l2").classes == ("stas",)
    with pytest.raises(InputError, match="'bones' is unknown; expected one of brain-lgg, gi-tract, "):
        network_named("bones")


@pytest.mark.parametrize("name", ["luna", "cells"])
def test_two_tasks_of_one_name_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        folder = package(tmp_path / str(number), f"package-{number}", {name: f"twice_{number}:TASK"}, {})
        monkeypatch.syspath_prepend(folder)
    with pytest.raises(
        TaskError, match=rf"'{name}' is registered by several packages, .*package-0 1.0 \(twice_0:TASK\), pac"
    ):
        task_named(name)
    assert task_named("stas").name == "stas"


def medseg(*words: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(path)}
    command = [sys.executable, "-c", "from medseg.cli.main import main; main()", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=path)


def test_info_lists_what_is_installed_and_what_is_broken(tmp_path: Path) -> None:
    offers = {"cells": "cells_b:TASK", "bones": "bones_b:TASK"}
    package(tmp_path, "own", offers, {"cells_b": OWN, "bones_b": "import no_such_package"})
    told = medseg("info", path=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "cells: made up\n  cells: thing\n  cells-large: thing\n" in told.stdout
    assert "bones: cannot be used: task 'bones' cannot be imported from bones_b:TASK of package own 1.0" in told.stdout
    facts = json.loads(medseg("info", "cells", "--json", path=tmp_path).stdout)
    assert facts["tasks"]["cells"]["scores"] == []
    refused = medseg("info", "bones", path=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: task 'bones' cannot be imported")
    assert refused.stderr.count("\n") == 1
