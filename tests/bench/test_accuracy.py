from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.bench.accuracy import differences, summary, worst
from medseg.bench.clock import Clock
from medseg.bench.html import html
from medseg.bench.load import Plan
from medseg.bench.markdown import markdown
from medseg.bench.questions import made_up, questions
from medseg.bench.record import rounded
from medseg.bench.tables import POOLED
from medseg.bench.target import Question, Target
from medseg.data.volume import read_volume
from medseg.errors import InputError
from medseg.task import Tensors
from medseg.tasks import task_named, task_names
from medseg.tasks.luna.tables import nodules
from tests.bench.measuring import measured

SCORES = {f"case {n}": {"dice": 0.8 + n / 100} for n in range(10)}


def test_intervals_hold_the_mean_and_one_case_has_none():
    found = summary(SCORES)["dice"]
    assert found["low"] < found["mean"] < found["high"] and found["cases"] == 10
    assert found["mean"] == pytest.approx(0.845)
    assert summary({"only": {"dice": 0.5}})["dice"] == {"mean": 0.5, "low": None, "high": None, "cases": 1}


def test_differences_are_paired_so_a_small_steady_loss_shows_through_a_large_spread():
    lossy = {case: {"dice": found["dice"] - 0.001} for case, found in SCORES.items()}
    found = differences(lossy, SCORES)["dice"]
    assert found["high"] < 0 and found["mean"] == pytest.approx(-0.001)
    assert differences({"other": {"dice": 1.0}}, SCORES) == {}


def test_the_worst_come_first():
    assert worst(SCORES, "dice", 2) == ["case 0", "case 1"]


@pytest.mark.parametrize("name", task_names())
def test_made_up_cases_of_every_task_are_asked_scored_and_drawn(name: str, tmp_path):
    task = task_named(name)
    cases = questions(task, made_up(task, tmp_path / "phantom"))
    assert cases and len({case.id for case in cases}) == len(cases)
    case = next(case for case in cases if case.score)
    assert case.files and all(file.is_file() for file in case.files)
    assert set(case.read()) <= set(task.pipeline.inputs)
    if name == "luna":  # whose truth is places and no mask: see below
        return
    truth = next(
        found.mask
        for patient in task.known_data("test").patients(tmp_path / "phantom")
        for found in task.known_data("test").read(tmp_path / "phantom", patient)
        if found.id == case.id
    )
    found = case.score({"mask": truth, "votes": np.stack([truth, truth, truth * 0])})
    assert found["dice"] == 1
    if name == "stas":
        assert [value for metric, value in found.items() if "alone" in metric] == [1, 1, 0]
        assert [value for metric, value in found.items() if "without" in metric] == [0, 0, 1]
        alone = case.score({"mask": truth, "votes": truth[np.newaxis]})  # one network that answers for all
        assert set(alone) == {"dice", "iou", "hd95_px"}
    picture = case.picture({"mask": truth})
    assert picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8


def test_a_ct_is_drawn_with_its_annotated_nodules_and_the_answers_marks(tmp_path: Path):
    task, data = task_named("luna"), tmp_path / "phantom"
    case = next(case for case in questions(task, made_up(task, data)) if case.score and case.picture)
    (nodule, *others) = [row for row in nodules(data) if row.series == case.id]
    ct = read_volume(case.files[0])
    (voxel,) = ct.geometry.voxel_from_world(np.array([nodule.xyz_mm]))
    hit = [*nodule.xyz_mm, *voxel, nodule.value, 0.9]
    miss = [*nodule.xyz_mm[:2], nodule.xyz_mm[2] + 40, *np.add(voxel, (10, 0, 0)), 5.0, 0.8]
    bits = np.packbits(np.zeros(ct.array.shape, bool))
    found, missed = ({"nodules": np.array(rows).reshape(-1, 8), "candidates": bits} for rows in ([hit, miss], []))
    assert case.score(found)["sensitivity"] == 1 / (1 + len(others)) and case.score(missed)["sensitivity"] == 0
    for answer, crosses in ((found, True), (missed, False)):
        picture = case.picture(answer)
        assert picture.ndim == 3 and picture.shape[2] == 3 and picture.dtype == np.uint8
        red, green, blue = picture.astype(int).transpose(2, 0, 1)
        assert ((green > red + 60) & (green > blue + 30)).sum() > 50  # the nodules' circles
        assert (((red > blue + 100) & (red > green + 30)).sum() > 5) == crosses  # the marks


def test_scans_are_scored_together_too_with_an_interval(tmp_path: Path):
    task, data = task_named("luna"), tmp_path / "phantom"
    task.known_data("test").phantom(data, 3, 0)
    cases = [case for case in questions(task, data) if case.score]
    lost = cases[0].id  # one scan's nodules are all missed

    def answer(asked: Question, _: Clock) -> Tensors:
        rows = [[*row.xyz_mm, 0, 0, 0, row.value, 0.9] for row in nodules(data) if row.series == asked.id != lost]
        return {"nodules": np.array(rows).reshape(-1, 8), "mask": np.zeros(1, np.uint8)}

    bare = [replace(case, picture=None) for case in cases]
    record = measured([Target("ours", answer)], bare, plan=Plan(warmup=0, rounds=1, requests=1))
    found = rounded(record["targets"][0]["pooled"])
    there = sum(row.series in {case.id for case in cases} for row in nodules(data))
    missed = sum(row.series == lost for row in nodules(data))
    assert found["cpm"] == pytest.approx(1 - missed / there, abs=1e-6) and found["nodules"] == there
    low, high = found["intervals"]["cpm"]
    assert low < found["cpm"] < high and found["scans"] == len(cases) > 1
    assert f"| ours | {found['cpm']:.3f} | {low:.3f} to {high:.3f} |" in markdown(record)
    assert POOLED in html(record)
    alone = measured([Target("ours", answer)], bare[:1], plan=Plan(warmup=0, rounds=1, requests=1))
    assert alone["targets"][0]["pooled"] == {} and POOLED not in markdown(alone) + html(alone)


def test_a_folder_without_cases_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match="holds no cases of brain-lgg"):
        questions(task_named("brain-lgg"), tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        questions(task_named("stas"), tmp_path / "nothing")


def test_the_slices_of_a_scan_are_scored_together_as_the_competition_does(tmp_path):
    task, data = task_named("gi-tract"), tmp_path / "phantom"
    cases = [case for case in questions(task, made_up(task, data)) if case.whole]
    truth = {
        one.id: one.mask
        for patient in task.known_data("test").patients(data)
        for one in task.known_data("test").read(data, patient)
    }
    scan = cases[0].whole
    masks = {case.id: truth[case.id] for case in cases if case.whole is scan}
    assert len(masks) > 1 and scan.score(masks) == {"uw_score": 1, "uw_dice": 1, "uw_hausdorff": 0}
    empty = scan.score({case: mask * 0 for case, mask in masks.items()})
    assert empty["uw_score"] < 0.5
    assert empty["uw_score"] == pytest.approx(0.4 * empty["uw_dice"] + 0.6 * (1 - empty["uw_hausdorff"]))


@pytest.mark.parametrize("name", ["brain-lgg", "stas"])
def test_the_columns_are_the_tasks_own_scores(name: str, tmp_path):
    task, data = task_named(name), tmp_path / "phantom"
    case = next(one for one in questions(task, made_up(task, data)) if one.score)
    (there,) = next(
        task.known_data("test").read(data, patient)
        for patient in task.known_data("test").patients(data)
        if patient == case.id
    )
    wrong = np.roll(there.mask, 3, axis=-1)
    (own,) = task.known_scoring("test").rows(data, [there], [{"mask": wrong}]).values()
    found = case.score({"mask": wrong, "votes": np.stack([wrong] * 3)})
    assert {metric: found[metric] for metric in ("dice", "iou", "hd95_px")} == pytest.approx(
        {metric: own[metric] for metric in ("dice", "iou", "hd95_px")}
    )
