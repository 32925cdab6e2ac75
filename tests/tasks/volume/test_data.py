"""A raw dataset of nnU-Net as data: which cases there are, what is wrong with them, and what answers score."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.data.check import report
from medseg.errors import InputError
from medseg.export.samples import drawn
from medseg.tasks.volume import TASK, described
from medseg.tasks.volume.raw import dataset_of
from tests.tasks.volume.test_task import description, perfect

REGIONS = [{"name": "whole", "region": [1, 2]}, {"name": "core", "region": [2]}]


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    TASK.data.phantom(folder, 2, 0)
    return folder


@pytest.fixture
def raw(made_up, tmp_path):
    return shutil.copytree(made_up, tmp_path / "raw")


def changed(folder, **entries):
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def task(**entries):
    classes = [{"name": "organ", "value": 1}, {"name": "lesion", "value": 2}]
    return described([json.dumps(description(**({"classes": classes} | entries)))])


def test_made_up_cases_are_sound_and_the_same_seed_makes_the_same(made_up, tmp_path):
    found = report(TASK.data.check(made_up))
    assert (found.patients, found.without_truth, found.problems) == (2, 0, [])
    TASK.data.phantom(tmp_path, 1, 0)
    for first, second in zip(TASK.data.read(tmp_path, "case_0000"), TASK.data.read(made_up, "case_0000"), strict=True):
        assert np.array_equal(first.image, second.image) and np.array_equal(first.mask, second.mask)


def test_cases_with_truth_are_judged_by_before_others(raw):
    shutil.copytree(raw / "imagesTs", raw / "imagesTr")
    (raw / "imagesTr" / "case_0001_0000.nii.gz").unlink()
    assert TASK.data.patients(raw) == ["case_0000", "case_0001"]
    shutil.move(raw / "labelsTs", raw / "labelsTr")
    assert TASK.data.patients(raw) == ["case_0000"]
    shutil.rmtree(raw / "labelsTr")
    assert [case.known for name in TASK.data.patients(raw) for case in TASK.data.cases(raw, name)] == [False, False]


def odd_value(folder):
    path = folder / "labelsTs" / "case_0000.nii.gz"
    labels = sitk.ReadImage(path)
    labels[3, 3, 3] = 7
    sitk.WriteImage(labels, path)


def moved(folder):
    path = folder / "labelsTs" / "case_0000.nii.gz"
    labels = sitk.ReadImage(path)
    labels.SetOrigin((30, 0, 0))
    sitk.WriteImage(labels, path)


def smaller(folder):
    path = folder / "labelsTs" / "case_0000.nii.gz"
    sitk.WriteImage(sitk.ReadImage(path)[:, :, 1:], path)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (odd_value, "holds the value 7; expected 0, 1, 2"),
        (moved, "expected labels where the image lies"),
        (smaller, "expected 64 x 64 x 24"),
        (lambda folder: changed(folder, channel_names={"0": "CT", "1": "PET"}), "has no channel 1 .PET."),
        (lambda folder: (folder / "labelsTs" / "case_0009.nii.gz").write_bytes(b""), "belongs to no image"),
        (lambda folder: (folder / "imagesTs" / "case.nii.gz").write_bytes(b""), "expected case_0000"),
        (lambda folder: (folder / "labelsTs" / "case_0000.nii.gz").write_bytes(b"no"), "case_0000.nii.gz"),
    ],
)
def test_what_is_wrong_with_a_case_is_told_with_its_file(raw, damage, problem):
    damage(raw)
    with pytest.raises(InputError, match=problem):
        if found := report(TASK.data.check(raw)).problems:
            raise InputError(found[0])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "has no dataset.json"),
        ("{", "not valid JSON"),
        ("[]", "not an object"),
        ('{"labels": {"background": 0}}', "no channel_names"),
        ('{"channel_names": {"1": "CT"}, "labels": {}}', "no channel_names"),
        ('{"channel_names": {"0": "CT"}}', "no labels"),
        ('{"channel_names": {"0": "CT"}, "labels": {"organ": "one"}}', "label organ is 'one'"),
        ('{"channel_names": {"0": "CT"}, "labels": {"organ": 300}}', "from 0 to 255"),
        ('{"channel_names": {"0": "CT"}, "labels": {"organ": 1}, "file_ending": ".png"}', "file_ending '.png'"),
    ],
)
def test_a_dataset_that_does_not_say_what_it_is_is_refused(raw, text, problem):
    (raw / "dataset.json").unlink() if text is None else (raw / "dataset.json").write_text(text)
    with pytest.raises(InputError, match=problem):
        TASK.data.patients(raw)


def test_old_files_have_labels_the_other_way_round(raw):
    text = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "organ", "2": "lesion"}}
    (raw / "dataset.json").write_text(json.dumps(text))
    assert dataset_of(raw).labels == {"organ": 1, "lesion": 2} and not report(TASK.data.check(raw)).problems


def test_a_class_shifted_by_a_slice_scores_as_its_border_says(made_up):
    asked = task()
    (case,) = asked.data.read(made_up, "case_0000")
    answer = np.where(case.mask == 1, 1, 0).astype(np.uint8)  # the lesion is missed
    (row,) = asked.scoring.rows(made_up, [case], [{"mask": answer}]).values()
    assert (row["dice_organ"], row["hd95_mm_organ"], row["nsd_1mm_organ"]) == (1, 0, 1)
    assert (row["dice_lesion"], row["nsd_1mm_lesion"], row["dice"], row["nsd_1mm"]) == (0, 0, 0.5, 0.5)
    shifted = np.roll(case.mask, 1, axis=0)  # by 3 mm
    (row,) = asked.scoring.rows(made_up, [case], [{"mask": shifted}]).values()
    assert row["hd95_mm_organ"] == pytest.approx(3, abs=0.01) and 0 < row["nsd_1mm_organ"] < 1


def test_a_class_that_is_nowhere_is_not_scored_and_ignored_voxels_count_nowhere(raw):
    changed(raw, labels={"background": 0, "organ": 1, "ignore": 2})
    asked = task()
    (case,) = asked.data.read(raw, "case_0000")
    (row,) = asked.scoring.rows(raw, [case], [{"mask": case.mask}]).values()
    assert row["dice"] == 1 and "dice_lesion" not in row
    assert row["tp_organ"] + row["tn_organ"] == np.count_nonzero(case.mask != 2)


@pytest.mark.parametrize("regions", [False, True])
def test_the_summary_is_that_of_nnunet(raw, regions, tmp_path):
    evaluation = pytest.importorskip("nnunetv2.evaluation.evaluate_predictions")
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    asked, keys = task(), [1, 2]
    if regions:
        changed(raw, labels={"background": 0, "whole": [1, 2], "core": 2})
        asked, keys = task(classes=REGIONS, activation="sigmoid", order=[1, 2]), [(1, 2), 2]
    rng, rows, theirs = np.random.default_rng(0), {}, []
    for name in asked.data.patients(raw):
        (case,) = asked.data.read(raw, name)
        answer = np.where(rng.random(case.mask.shape) < 0.1, 0, case.mask).astype(np.uint8)
        rows |= asked.scoring.rows(raw, [case], [{"mask": answer}])
        sitk.WriteImage(sitk.GetImageFromArray(answer), tmp_path / "answer.nii.gz")
        truth = raw / "labelsTs" / f"{name}.nii.gz"
        theirs.append(evaluation.compute_metrics(str(truth), str(tmp_path / "answer.nii.gz"), SimpleITKIO(), keys))
    found = json.loads(asked.scoring.written["summary.json"](raw, rows))
    for ours, other in zip(found["metric_per_case"], theirs, strict=True):
        assert ours["metrics"] == {str(key): pytest.approx(scores) for key, scores in other["metrics"].items()}
        assert ours["reference_file"] == other["reference_file"]
    for key in keys:
        mean = np.mean([one["metrics"][key]["Dice"] for one in theirs])
        assert found["mean"][str(key)]["Dice"] == pytest.approx(mean)


@pytest.mark.parametrize("patch", [[8, 16, 16], [32, 16, 16], [16, 16]])
@pytest.mark.parametrize("numerics", ["nnunet", "monai"])
def test_calibration_has_tiles_of_every_class_as_the_network_gets_them(made_up, patch, numerics):
    window = description()["window"] | {"patch": patch}
    resampling = description()["resampling"] | {"numerics": numerics}
    spacing = [1.5] * len(patch)
    asked = task(window=window, spacing_mm=spacing, orientation="RAS", resampling=resampling, mirror_axes=[1])
    found = drawn(asked.networks[0], made_up, 4)
    assert [one.shape for one in found.samples] == [(1, 1, *patch)] * 4 and "4 samples" in found.origin
    brightness = [float(one.max()) for one in found.samples]
    assert min(brightness) > 60  # each holds a label, brighter than the body with its noise


def test_a_refining_networks_tiles_have_the_truth_as_the_earlier_answer(made_up):
    previous = {"configuration": "3d_lowres", "labels": [1, 2]}
    asked = task(previous=previous, spacing_mm=[3.0, 1.5, 1.5])
    found = drawn(asked.networks[0], made_up, 4).samples
    assert [one.shape for one in found] == [(1, 3, 8, 16, 16)] * 4
    assert all(one[0, 1:].any() and set(np.unique(one[0, 1:])) == {0, 1} for one in found)
    with pytest.raises(InputError, match="add it with --run"):
        asked.data.cases(made_up, "case_0000")


def test_views_show_the_slices_that_differ(made_up):
    asked = task()
    (case,) = asked.data.read(made_up, "case_0000")
    found = asked.scoring.views([case], {"truth": [case.mask], "answer": [np.zeros_like(case.mask)]})
    assert len(found) == 6 and all(one.masks["truth"].any() and not one.masks["answer"].any() for one in found)


def test_a_perfect_network_scores_1(made_up):
    asked = task(channels=[{"name": "CT", "normalisation": {"scheme": "none"}}])
    (case,), (unread,) = asked.data.read(made_up, "case_0001"), asked.data.cases(made_up, "case_0001")
    question = unread.ask() | {"image": case.mask[None].astype(np.float32)}
    answer = asked.pipeline(question, perfect(3))
    assert asked.scoring.rows(made_up, [case], [answer])["case_0001"]["dice"] > 0.95
