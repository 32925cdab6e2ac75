import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from medseg.cli.definitions import filled
from medseg.cli.info import info
from medseg.tasks import task_named, task_names

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/metrics.md"
app = typer.Typer()
app.command()(info)
runner = CliRunner()


def shown(*arguments: str) -> str:
    return runner.invoke(app, list(arguments), catch_exceptions=False).stdout


def test_the_documents_tables_are_those_of_info() -> None:
    text = DOCUMENT.read_text()
    assert filled(text) == text, "run `make docs`"
    for task in task_names():
        assert (f"<!-- scores {task} -->" in text) == bool(task_named(task).scoring)
    assert filled("<!-- scores luna -->\nold\n<!-- end -->").startswith("<!-- scores luna -->\n| key |")


@pytest.mark.parametrize("task", task_names())
def test_info_says_what_a_score_is(task: str) -> None:
    facts = json.loads(shown(task, "--json"))["tasks"][task]
    text = " ".join(shown(task).split())
    for metric in facts["scores"]:
        assert metric["key"] in text and metric["meaning"] in text
        assert metric["better"] in ("higher", "lower", "-") and metric["unit"] in ("0 to 1", "count", "mm", "pixels")
    for network, found in facts["networks"].items():
        assert network in text and all(name in text for name in found["classes"])
    assert list(facts["inputs"]) == list(task_named(task).pipeline.inputs)
    assert f"expects {task_named(task).files.expects}" in text and facts["expects"]


@pytest.mark.parametrize("task", task_names())
def test_no_heading_stands_over_nothing(task: str) -> None:
    lines = shown(task).splitlines()
    assert not [line for line in lines if line.strip() in ("an answer's steps:", "a server takes:", "a server gives:")]
    after = {line: lines[number + 1] for number, line in enumerate(lines) if line.startswith("networks, each")}
    assert all(line.startswith("  ") for line in after.values())
    assert (
        bool(after) == bool(task_named(task).networks) != ("networks: any; each run describes its own" in shown(task))
    )


def test_what_a_picture_cannot_tell_of_how_a_patient_lies_is_said() -> None:
    for task in ("gi-tract", "brain-lgg"):
        assert "front up, their right on the picture's left" in " ".join(shown(task).split())
        assert "not checked" in shown(task)


def test_info_without_a_task_names_each_and_how_to_learn_more() -> None:
    text = shown()
    assert all(f"{name}: {task_named(name).title}" in text for name in task_names())
    assert "medseg info TASK" in text and "engines: " in text
