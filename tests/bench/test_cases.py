"""A data folder's cases, or a file's, as a benchmark asks them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.bench.benchmark import Settings, benchmark
from medseg.bench.cases import cases_of, made_up, scorer_of
from medseg.bench.lineup import Opening
from medseg.bench.measure.rounds import Loads
from medseg.data.volume import read_volume
from medseg.errors import InputError
from medseg.tasks import task_named
from medseg.tasks.luna.tables import nodules
from tests.bench import measuring
from tests.bench.servers import question, target
from tests.own import OWN


@pytest.mark.parametrize("name", OWN)
def test_made_up_cases_of_every_task_are_asked_for_what_a_benchmark_measures(name: str, tmp_path: Path) -> None:
    task, data = task_named(name), tmp_path / "phantom"
    task.known_data("test").phantom(data, 1, 0)
    cases = cases_of(task, data)
    assert cases and len({case.id for case in cases}) == len(cases) and scorer_of(task, data, cases)
    case = cases[0]
    assert case.known and case.files and all(file.is_file() for file in case.files)
    tensors = case.ask()
    assert set(tensors) <= set(task.pipeline.inputs)
    for step in task.pipeline.steps[:1]:  # each wire is what the pipeline takes
        task.pipeline.check(step, {wire: tensors[wire] for wire in step.inputs if wire in tensors})
    assert [one.decode() for one in tensors.get("wanted", [])] == list(task.files.measured)
    for option, value in task.scoring.measured.items():
        assert tensors[option] == np.float32(value)


@pytest.mark.parametrize("name", ["gi-tract", "stas", "luna"])
def test_a_file_is_asked_without_a_truth(name: str, tmp_path: Path) -> None:
    task, data = task_named(name), tmp_path / "phantom"
    task.known_data("test").phantom(data, 1, 0)
    there = cases_of(task, data)[0]
    path = next(file for file in there.files if file.suffix != ".raw")
    (case,) = cases_of(task, path)
    assert not case.known and set(case.files) == set(there.files) and scorer_of(task, path, [case]) is None
    ours, theirs = case.ask(), there.ask()
    assert {key: value.tolist() for key, value in ours.items()} == {key: theirs[key].tolist() for key in ours}


def test_a_task_without_data_is_asked_about_its_files(tmp_path: Path) -> None:
    task, data = task_named("brain-lgg"), tmp_path / "phantom"
    task.known_data("test").phantom(data, 2, 0)
    bare = replace(task, data=None, scoring=None)
    cases = cases_of(bare, data / "kaggle_3m")
    assert len(cases) == 2 and not any(case.known for case in cases) and cases[0].ask()["encoded"].size
    with pytest.raises(InputError, match="'brain-lgg' has no data layout, so it cannot measure made-up patients"):
        made_up(bare, tmp_path / "nothing")


def test_without_a_data_folder_answers_are_measured_and_not_scored() -> None:
    def read(*_: object) -> list[object]:
        raise InputError("a folder that was not given was read")

    scoring = measuring.scoring(lambda _: {"dice": 1.0})
    task = replace(measuring.TASK, data=replace(measuring.data(), read=read), scoring=scoring)
    opening = Opening("ours", {}, lambda: nullcontext(target()))
    record = benchmark(task, [opening], [question()], Settings(replace(measuring.PLAN, rounds=1), Loads()))
    (found,) = record["targets"]
    assert found["answers"] and not found["problems"] and not found["scores"]


def test_a_folder_without_cases_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no cases of brain-lgg"):
        cases_of(task_named("brain-lgg"), tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        cases_of(task_named("stas"), tmp_path / "nothing")


def test_a_ct_is_drawn_with_its_annotated_nodules_and_the_answers_marks(tmp_path: Path) -> None:
    task, data = task_named("luna"), tmp_path / "phantom"
    task.known_data("test").phantom(data, 1, 0)
    (case,) = cases_of(task, data)
    (nodule, *others) = [row for row in nodules(data) if row.series == case.id]
    ct = read_volume(case.files[0])
    (voxel,) = ct.geometry.voxel_from_world(np.array([nodule.xyz_mm]))
    hit = [*nodule.xyz_mm, *voxel, nodule.value, 0.9]
    miss = [*nodule.xyz_mm[:2], nodule.xyz_mm[2] + 40, *np.add(voxel, (10, 0, 0)), 5.0, 0.8]
    bits = np.packbits(np.zeros(ct.array.shape, bool))
    for rows, crosses in (([hit, miss], True), ([], False)):
        scorer = scorer_of(task, data, [case])
        scorer.add(case.id, {"nodules": np.array(rows).reshape(-1, 8), "candidates": bits})
        assert scorer.scored().rows[case.id]["sensitivity"] == (1 / (1 + len(others)) if crosses else 0)
        picture = scorer.together(case.id, {"fp32": scorer})
        red, green, blue = picture[:-80].astype(int).transpose(2, 0, 1)  # without the legend
        assert ((green > red + 40) & (green > blue + 20)).sum() > 50  # the nodules, filled
        assert (((red > blue + 100) & (red > green + 30)).sum() > 5) == crosses  # the marks
