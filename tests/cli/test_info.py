import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from medseg.bench.questions import questions
from medseg.cli.definitions import filled
from medseg.cli.info import info
from medseg.data.volume import read_volume
from medseg.tasks import task_named, task_names
from medseg.tasks.luna.pipeline import NODULE_COLUMNS
from medseg.tasks.luna.tables import nodules

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
        assert f"<!-- evaluate {task} -->" in text and f"<!-- bench {task} -->" in text
    assert filled("<!-- bench luna -->\nold\n<!-- end -->").startswith("<!-- bench luna -->\n| key |")


@pytest.mark.parametrize("task", task_names())
def test_info_says_what_a_score_is(task: str) -> None:
    facts = json.loads(shown(task, "--json"))["tasks"][task]
    text = " ".join(shown(task).split())
    for metric in (*facts["scores"]["evaluate"], *facts["scores"]["bench"]):
        assert metric["key"] in text and metric["meaning"] in text
        assert metric["better"] in ("higher", "lower", "-") and metric["unit"] in ("0 to 1", "count", "mm", "pixels")
    for network, found in facts["networks"].items():
        assert network in text and all(name in text for name in found["classes"])
    assert list(facts["inputs"]) == list(task_named(task).pipeline.inputs)
    assert f"expects {task_named(task).files.expects}" in text and facts["expects"]


def test_what_a_picture_cannot_tell_of_how_a_patient_lies_is_said() -> None:
    for task in ("gi-tract", "brain-lgg"):
        assert "front up, their right on the picture's left" in " ".join(shown(task).split())
        assert "not checked" in shown(task)


def test_info_without_a_task_names_each_and_how_to_learn_more() -> None:
    text = shown()
    assert all(f"{name}: {task_named(name).title}" in text for name in task_names())
    assert "medseg info TASK" in text and "engines: " in text


def hit(case_id: str, data: Path, file: Path) -> dict[str, np.ndarray]:
    """An answer that lists the scan's first nodule."""
    first = next(row for row in nodules(data) if row.series == case_id)
    row = dict.fromkeys(NODULE_COLUMNS, 0.0) | {f"center_{axis}_mm": first.xyz_mm[n] for n, axis in enumerate("xyz")}
    mask = np.packbits(np.zeros(read_volume(file).array.shape, bool))
    return {"nodules": np.array([list((row | {"nodule_probability": 0.9}).values())]), "mask": mask}


@pytest.mark.parametrize("name", task_names())
def test_every_score_of_the_commands_is_defined_and_no_other(name: str, tmp_path: Path) -> None:
    task, score = task_named(name), import_module(f"medseg.tasks.{name.replace('-', '_')}.score")
    task.known_data("test").phantom(tmp_path, 1, 0)
    asked = [question for question in questions(task, tmp_path) if question.score]
    cases = [
        case
        for patient in task.known_data("test").patients(tmp_path)
        for case in task.known_data("test").read(tmp_path, patient)
    ]
    if name == "luna":
        answers = [hit(question.id, tmp_path, question.files[0]) for question in asked]
        cases = [case for case in cases if case.id in {question.id for question in asked}]
        overall = {"cpm"} & set(score.record_of(tmp_path, [], [case.id for case in cases]))
    else:
        answers, overall = [{"mask": case.mask, "votes": np.stack([case.mask] * 3)} for case in cases], set()
    evaluated = {key for row in score.rows(tmp_path, cases, answers).values() for key in row} | overall
    assert evaluated == {metric.key for metric in score.EVALUATED}
    found = {key for question, answer in zip(asked, answers, strict=True) for key in question.score(answer)}
    if name == "gi-tract":
        wholes = {question.whole for question in asked}
        masks = {case.id: case.mask for case in cases}
        found |= {key for whole in wholes for key in whole.score(masks)}
    voters = {"alone: ", "without: "}
    found = {next((f"{word}NETWORK" for word in voters if key.startswith(word)), key) for key in found}
    assert found == {metric.key for metric in score.BENCHED}
