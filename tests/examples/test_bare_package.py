"""A task that has neither data nor scores: what needs them is refused in one sentence, all else is done."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from medseg.cli.main import app
from medseg.cli.new_task import package_files
from medseg.errors import InputError
from medseg.task import Task
from medseg.tasks import network_named, task_named
from tests.plugged import package

LEFT_OUT = r"    (data=DATA|scoring=SCORING|decoding=.*),\n|from \.(data|score) import .*\n|DECODE, "


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory):
    """A folder to work in, with a package on the path whose task has only what a task must have, and a run of it."""
    folder = tmp_path_factory.mktemp("bare")
    site = package(folder / "site", "bare-task", {"bare": "bare:TASK"}, {})
    for path, text in package_files("bare").items():
        (site / path).parent.mkdir(exist_ok=True)
        (site / path).write_text(re.sub(LEFT_OUT, "", text) if path.name == "__init__.py" else text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.chdir(folder)
        network = network_named("bare")
        torch.manual_seed(0)
        torch.save(network.build(**network.options).state_dict(), folder / "weights.pt")
        made_up_pictures(folder)
        asked("import", "bare", "weights.pt", "--out", "run")
        yield folder


def made_up_pictures(folder: Path) -> None:
    from bare.data import phantom  # the package has the function still; its task does not offer it

    phantom(folder / "data", 2, 0)


def asked(*words: str) -> str:
    """What a command prints; raises what it raises."""
    done = CliRunner().invoke(app, [*words], catch_exceptions=True)
    if isinstance(done.exception, Exception):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data", "phantom", "bare", "--out", "x"], "has no data layout, so it cannot make up patients"),
        (["data", "check", "bare", "data"], "has no data layout, so it cannot check a folder"),
        (["train", "bare", "data", "--out", "fitted"], "has no data layout, so it cannot train"),
        (["evaluate", "bare", "data", "--run", "run"], "has no (scores|data layout), so it cannot"),
        (["export", "run", "--fp16", "--calibration", "data"], "has no data layout, so it cannot"),
        (
            ["predict", "bare", "data/pictures", "--run", "run", "--out", "x", "--overlay"],
            "has no scores, so it cannot",
        ),
    ],
)
def test_what_needs_data_or_scores_is_refused_in_one_sentence(words: list[str], message: str, bare: Path) -> None:
    assert task_named("bare").data is task_named("bare").scoring is None
    with pytest.raises(InputError, match=rf"^task 'bare' {message}") as caught:
        asked(*words)
    assert "\n" not in str(caught.value)
    assert not (bare / "fitted/manifest.json").exists()


def test_all_else_is_done(bare: Path) -> None:
    asked("export", "run", "--fp16")
    written = json.loads(asked("predict", "bare", "data/pictures", "--run", "run", "--out", "answers", "--json"))
    assert sorted(written) == ["0000", "0001"]
    models = asked("serve", "bare", "--run", "run", "--write-only", "models")
    assert "bare-decode-step" in models
    assert "maker" not in (bare / "models/bare-decode-step/config.pbtxt").read_text(), "it has no record for DALI"
    facts = json.loads(asked("info", "bare", "--json"))["tasks"]["bare"]
    assert facts["scores"] == [] and list(facts["options"]) == ["threshold"]
    asked("bench", "bare", "data/pictures/0000.png", "--run", "run", "--quick", "--where", "local", "--out", "bench")
    targets = json.loads((bare / "bench/bench.json").read_text())["targets"]
    assert targets and not any(one.get("scores") for one in targets)


def test_the_document_speaks_of_every_field_of_the_record() -> None:
    text = (Path(__file__).parents[2] / "docs/adding-a-task.md").read_text()
    named = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))))
    assert named == {one.name for one in fields(Task)}
