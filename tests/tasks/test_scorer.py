"""One scorer gives `evaluate` and `bench` their scores: the same keys with the same values, however answers come."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.bench.cases import cases_of, scorer_of
from medseg.errors import InputError
from medseg.metrics.definitions import metric_of
from medseg.scoring import Scoring
from medseg.task import Case, Data, Task, Tensors, Unread
from medseg.tasks import task_named, task_names
from medseg.tasks.luna.tables import nodules
from medseg.tasks.picture.choose import described as described_picture
from medseg.tasks.scorer import Scorer
from tests.own import OWN
from tests.tasks.picture.made import picture
from tests.tasks.volume.test_data import task as volume_task

PATIENTS = {"luna": 3, "gi-tract": 2, "brain-lgg": 2, "stas": 2, "picture": 3, "volume": 2}
SCORED = [name for name in task_names() if task_named(name).scoring]


def whole(name: str) -> Task:
    """A task by its name; of those that runs describe one that a run could have."""
    task = task_named(name)
    if task.described is None:
        return task
    return {"picture": lambda: task.described([described_picture(picture())]), "volume": volume_task}[name]()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name in SCORED:
        made[name] = tmp_path_factory.mktemp(name)
        whole(name).known_data("test").phantom(made[name], PATIENTS[name], 0)
    return made


def known(task: Task, data: Path) -> tuple[list[Unread], dict[str, Case]]:
    layout = task.known_data("test")
    patients = layout.patients(data)
    cases = [case for patient in patients for case in layout.read(data, patient)]
    return [one for patient in patients for one in layout.cases(data, patient)], {case.id: case for case in cases}


def answer(task: Task, data: Path, case: Case, index: int, missed: bool = False) -> Tensors:
    """An answer that is nearly right, another one for each case."""
    if task.name == "luna":
        hits = [row for row in nodules(data) if row.series == case.id and not missed]
        rows = [[*row.xyz_mm, 0, 0, 0, row.value, 0.9 - 0.03 * index] for row in hits]
        rows += [[900.0 + index, 0, 0, 0, 0, 0, 5.0, 0.6], [950.0, 0, 0, 0, 0, 0, 5.0, 0.005]]
        return {"nodules": np.array(rows).reshape(-1, 8), "candidates": np.packbits(np.asarray(case.mask) > 0)}
    truth = np.asarray(case.mask)
    if task.name == "picture":  # one class a pixel
        truth = np.max(truth * np.arange(1, len(truth) + 1)[:, None, None], axis=0)
    mask = np.roll(truth, 1 + index % 3, axis=-1).astype(np.uint8) * np.uint8(not missed)
    return {"mask": mask, "votes": np.stack([np.roll(mask, by, axis=0) for by in range(3)])}


def answers(task: Task, data: Path) -> tuple[list[Unread], dict[str, Tensors]]:
    unread, cases = known(task, data)
    return unread, {name: answer(task, data, case, index) for index, (name, case) in enumerate(cases.items())}


@pytest.mark.parametrize("name", SCORED)
def test_a_benchmark_scores_as_an_evaluation_does(name: str, folders: dict[str, Path]) -> None:
    task, data = whole(name), folders[name]
    unread, given = answers(task, data)
    evaluated, benched = Scorer(task, data, unread), scorer_of(task, data, cases_of(task, data))
    for one in unread:
        evaluated.add(one.id, given[one.id])
    for case in random.Random(0).sample(list(given), len(given)):  # answers come in another order, some of them twice
        benched.add(case, given[case])
        benched.add(case, {})
    one, other = evaluated.scored(), benched.scored()
    assert one.rows == {row: other.rows[row] for row in one.rows} and set(one.rows) == set(other.rows) != set()
    both = one.means.keys() & other.means.keys()
    assert task.scoring.main in both
    for key in both:
        assert one.means[key].mean == pytest.approx(other.means[key].mean, abs=1e-12), key
    for row in evaluated.drawable:
        picture = evaluated.together(row, {"fp32": evaluated, "fp16": evaluated})
        assert picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8


@pytest.mark.parametrize("name", OWN)
def test_every_score_of_the_commands_is_defined_and_no_other(name: str, folders: dict[str, Path]) -> None:
    task, data = task_named(name), folders[name]
    unread, given = answers(task, data)
    keys: set[str] = set()
    for options in ({}, dict(task.scoring.measured)):
        scorer = Scorer(task, data, unread, options)
        for case, found in given.items():
            scorer.add(case, found)
        scored = scorer.scored()
        keys |= {key for row in scored.rows.values() for key in row} | scored.means.keys() | scored.counts.keys()
    metrics = task.scoring.metrics
    assert {metric_of(metrics, key).key for key in keys} == {metric.key for metric in metrics}
    assert len({metric.key for metric in metrics}) == len(metrics)
    assert {task.scoring.main, *task.scoring.brief} <= keys


def test_a_scan_some_of_whose_slices_were_not_answered_is_scored_by_the_others(folders: dict[str, Path]) -> None:
    task, data = task_named("gi-tract"), folders["gi-tract"]
    unread, cases = known(task, data)
    scorer = Scorer(task, data, unread)
    for case in list(cases.values())[:10]:
        scorer.add(case.id, {"mask": case.mask})
    scorer.add("case999_day0_slice_0001", {})  # nobody asked about it
    (row,) = scorer.scored().rows.values()
    assert row["score"] == row["slice_dice"] == 1


def test_scans_are_scored_together_with_an_interval_and_a_lone_one_has_none(folders: dict[str, Path]) -> None:
    task, data = task_named("luna"), folders["luna"]
    unread, cases = known(task, data)
    lost = unread[0].id  # one scan's nodules are all missed
    scorer = Scorer(task, data, unread)
    for case in cases.values():
        scorer.add(case.id, answer(task, data, case, 0, missed=case.id == lost))
    found = scorer.scored()
    there = sum(row.series in cases for row in nodules(data))
    missed = sum(row.series == lost for row in nodules(data))
    cpm = found.means["cpm"]
    assert found.counts["all_nodules"] == there and found.counts["nodules_hit"] == there - missed
    assert cpm.low < cpm.mean < cpm.high and cpm.cases == found.counts["scans"] == len(cases)
    assert found.rows[lost]["sensitivity"] == found.rows[lost]["scan_cpm"] == 0
    alone = Scorer(task, data, unread[1:2])
    alone.add(unread[1].id, answer(task, data, cases[unread[1].id], 0))
    assert alone.scored().means["cpm"].low is None


def test_marks_under_what_a_benchmark_asks_for_change_no_score_that_it_has(folders: dict[str, Path]) -> None:
    """So that a scan's CPM is the same number where every candidate was asked for."""
    task, data = task_named("luna"), folders["luna"]
    unread, given = answers(task, data)
    every, likely = Scorer(task, data, unread), Scorer(task, data, unread, task.scoring.measured)
    for case, found in given.items():
        every.add(case, found)
        rows = found["nodules"]
        likely.add(case, found | {"nodules": rows[rows[:, 7] >= task.scoring.measured["threshold"]]})
    assert every.scored().rows == likely.scored().rows
    assert "cpm" in every.scored().means and "cpm" not in likely.scored().means
    assert "likely_cpm" in likely.scored().means and "likely_cpm" not in every.scored().means


def test_an_answer_of_another_shape_is_refused_with_its_patient(folders: dict[str, Path]) -> None:
    task, data = task_named("brain-lgg"), folders["brain-lgg"]
    (first, *_), cases = known(task, data)
    with pytest.raises(InputError, match=f"{first.patient}: the answer is a mask of shape"):
        Scorer(task, data, [first]).add(first.id, {"mask": cases[first.id].mask[:, 1:]})


def test_a_task_without_scores_or_data_is_refused_in_one_sentence(folders: dict[str, Path]) -> None:
    task, data = task_named("brain-lgg"), folders["brain-lgg"]
    bare = replace(task, scoring=None)
    with pytest.raises(InputError, match="'brain-lgg' has no scores, so it cannot score answers"):
        Scorer(bare, data, [])
    assert scorer_of(bare, data, cases_of(bare, data)) is None
    assert isinstance(task.scoring, Scoring) and isinstance(task.data, Data)
