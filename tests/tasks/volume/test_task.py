"""A described network as a task: stages, bounds, memory, files, and a model that is made on the spot."""

import csv
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from medseg.cli.main import app
from medseg.data.geometry import geometry_tensor
from medseg.errors import InputError, RunError
from medseg.task import Geometry
from medseg.tasks.volume import described
from medseg.tasks.volume.pipeline import strips
from tests.tasks.volume.test_nnunet import DATASET, PLANS, changed, made

WHERE = Geometry((1.0, 1.0, 1.0))


def description(**entries) -> dict:
    document = {
        "format": 1,
        "kind": "volume",
        "channels": [{"name": "CT", "normalisation": {"scheme": "none"}}],
        "classes": [{"name": f"class {value}", "value": value} for value in range(1, 4)],
        "activation": "softmax",
        "orientation": "",
        "axes": [0, 1, 2],
        "spacing_mm": [1.0, 1.0, 1.0],
        "crop": False,
        "resampling": {"numerics": "nnunet", "image": {"order": 3}, "answer": {"order": 1}},
        "window": {
            "patch": [8, 16, 16],
            "overlap": 0.5,
            "blending": "gaussian",
            "steps": "even",
            "accumulator": "float16",
        },
        "mirror_axes": [2],
        "folds": 1,
        "network": {"name": "made up"},
    }
    return document | entries


def perfect(classes: int):
    """A network that finds in each voxel the class that its value names."""

    def infer(batch: np.ndarray) -> np.ndarray:
        return np.stack([-np.abs(batch[:, 0] - value) * 9 for value in range(classes)], 1).astype(np.float32)

    return lambda _: infer


def asked(task, labels: np.ndarray, **options: int) -> np.ndarray:
    tensors = {"image": labels[None].astype(np.float32), "geometry": geometry_tensor(WHERE)}
    tensors |= {name: np.array([value], np.uint8) for name, value in options.items()}
    return task.pipeline(tensors, perfect(len(task.networks[0].classes) + 1))["mask"]


LABELS = np.random.default_rng(0).integers(0, 4, (19, 33, 21)).astype(np.uint8)


@pytest.mark.parametrize("axes", [[0, 1, 2], [2, 0, 1]])
@pytest.mark.parametrize("orientation", ["", "RAS", "LPI"])
@pytest.mark.parametrize("patch", [[8, 16, 16], [16, 16]])
def test_a_perfect_network_gives_the_truth_whichever_way_it_sees_the_volume(axes, orientation, patch):
    window = description()["window"] | {"patch": patch}
    rest = {"spacing_mm": [1.0] * len(patch), "mirror_axes": [1]}
    task = described([json.dumps(description(axes=axes, orientation=orientation, window=window, **rest))])
    assert np.array_equal(asked(task, LABELS), LABELS)


def test_mirroring_is_as_fitted_or_as_asked_and_refused_where_it_was_not_fitted():
    task = described([json.dumps(description(mirror_axes=[]))])
    assert np.array_equal(asked(task, LABELS, mirror=1), LABELS)
    with pytest.raises(InputError, match="fitted without"):
        asked(task, LABELS, mirror=2)


def test_only_the_largest_piece_is_kept_of_what_the_description_names():
    labels = np.zeros((9, 20, 20), np.uint8)
    labels[2:5, 2:9, 2:9], labels[6:8, 15:17, 15:17], labels[6:8, 2:4, 15:17] = 1, 1, 2
    found = asked(described([json.dumps(description(largest_piece=[[1]]))]), labels)
    assert np.count_nonzero(found == 1) == 3 * 7 * 7 and np.count_nonzero(found == 2) == 8


def test_memory_holds_a_tiles_depth_of_all_classes_and_never_the_volumes():
    classes = [{"name": f"class {value}", "value": value} for value in range(1, 40)]
    task = described([json.dumps(description(classes=classes))])
    labels = np.zeros((240, 48, 48), np.uint8)
    labels[10:200, 5:40, 5:40] = 39
    tracemalloc.start()
    found = asked(task, labels, mirror=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(found, labels)
    assert peak < 0.6 * labels.size * 40 * 2  # of all logits in float16, which are 44 MB


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"spacing_mm": [1.0, 1.0]}, "spacing_mm has 2 numbers and the patch 3"),
        ({"mirror_axes": [0, 0]}, "mirror_axes"),
        ({"axes": [0, 1, 1]}, "axes"),
        ({"orientation": "RAR"}, "orientation"),
        ({"channels": [{"name": "CT", "normalisation": {"scheme": "odd"}}]}, "scheme"),
        ({"odd": 1}, "'odd'"),
        ({"folds": 0}, "folds"),
    ],
)
def test_a_description_that_cannot_be_followed_is_refused(entries, message):
    with pytest.raises(RunError, match=message):
        described([json.dumps(description(**entries))])


def test_a_cascade_is_two_runs_in_any_order_and_nothing_else():
    first = json.dumps(description(configuration="3d_lowres"))
    previous = {"configuration": "3d_lowres", "labels": [1, 2, 3]}
    second = json.dumps(description(configuration="cascade", previous=previous))
    for texts in ([first, second], [second, first]):
        assert [network.name for network in described(texts).networks] == ["volume", "volume-refining"]
    with pytest.raises(RunError, match="expected one, or a cascade's two"):
        described([first, first])
    with pytest.raises(RunError, match="refines the answer of 3d_lowres"):
        described([json.dumps(description(configuration="3d_fullres")), second])
    with pytest.raises(InputError, match="add it with --run"):
        described([second]).files.sources(Path("x"), None)


@pytest.mark.slow
def test_a_model_made_on_the_spot_is_imported_exported_and_answers_as_torch_does(tmp_path):
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet")
    plans = changed(PLANS, configurations__3d_fullres__normalization_schemes=["NoNormalization"] * 2)
    folder = made(tmp_path, plans, folds=("0", "1"))
    torch.manual_seed(0)
    for fold in ("0", "1"):
        module = unet.PlainConvUNet(
            2, 2, [4, 8], torch.nn.Conv3d, [[1, 3, 3], [3, 3, 3]], [[1, 1, 1], [1, 2, 2]], 2, 3, 2, True,
            torch.nn.InstanceNorm3d, {"eps": 1e-5, "affine": True}, None, None, torch.nn.LeakyReLU, {"inplace": True},
        )  # fmt: skip
        content = {
            "network_weights": module.state_dict(),
            "trainer_name": "T",
            "inference_allowed_mirroring_axes": (1,),
        }
        torch.save(content, folder / f"fold_{fold}" / "checkpoint_final.pth")
    for channel in range(2):
        values = np.random.default_rng(channel).normal(size=(40, 50, 20)).astype(np.float32)
        image = nibabel.Nifti1Image(values, np.diag([1.0, 1.0, 5.0, 1.0]))
        nibabel.save(image, tmp_path / f"a_{channel:04}.nii.gz")
    run = tmp_path / "run"
    for command in (
        ["import", "nnunet", str(folder), "--out", str(run)],
        ["export", str(run)],
        ["predict", "volume", str(tmp_path / "a_0000.nii.gz"), "--run", str(run), "--out", str(tmp_path / "out")],
        ["predict", "volume", str(tmp_path / "a_0000.nii.gz"), "--run", str(run), "--out", str(tmp_path / "torch"),
         "--engine", "torch"],
    ):  # fmt: skip
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    found, expected = (nibabel.load(tmp_path / name / "a.nii.gz").get_fdata() for name in ("out", "torch"))
    assert np.count_nonzero(found != expected) <= found.size // 20_000 and len(np.unique(expected)) > 1
    with (tmp_path / "out" / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == list(DATASET["labels"])[1:]
    assert int(rows[0]["voxels"]) == np.count_nonzero(found == 1)
    assert float(rows[0]["volume_ml"]) == pytest.approx(np.count_nonzero(found == 1) * 0.005)


@pytest.mark.parametrize("rest", [{}, {"crop": True}, {"axes": [2, 0, 1], "folds": 2}, {"numerics": "monai"}])
@pytest.mark.parametrize("patch", [[8, 16, 16], [40, 40, 40], [16, 16]])
def test_strips_that_bound_memory_change_no_voxel(monkeypatch, rest, patch):
    """Whole and in strips: cropped or not, by nnU-Net's numerics and MONAI's, resampled, beside tiles of every size."""
    more = dict(rest)
    resampling = description()["resampling"] | {"numerics": more.pop("numerics", "nnunet")}
    window = description()["window"] | {"patch": patch}
    spacing = [1.3, 0.8, 1.1][-len(patch) :]
    crop = {"crop": True, "orientation": "RAS"} if resampling["numerics"] == "monai" else {}
    rest = more | crop | {"spacing_mm": spacing, "mirror_axes": [1]}
    text = json.dumps(description(window=window, resampling=resampling, **rest))
    labels = np.pad(LABELS, 4)
    rng = np.random.default_rng(1).normal(size=(8, 1, 1, 1)).astype(np.float32)

    def infer(batch: np.ndarray) -> np.ndarray:
        outputs = 4 * more.get("folds", 1)
        return np.concatenate([np.sin(batch * (3 + at)) * rng[at] for at in range(outputs)], 1).astype(np.float32)

    def answer() -> np.ndarray:
        tensors = {"image": labels[None].astype(np.float32), "geometry": geometry_tensor(WHERE)}
        return described([text]).pipeline(tensors, lambda _: infer)["mask"]

    whole = answer()
    counted: list[int] = []
    many = lambda rows, size: counted.append(size) or strips(rows, size * 10**6)  # noqa: E731
    monkeypatch.setattr(sys.modules["medseg.tasks.volume.pipeline"], "strips", many)
    assert np.array_equal(answer(), whole) and len(np.unique(whole)) == 4
    assert (counted[0] > 0) == (len(patch) == 3)


def test_strips_are_as_few_as_the_bound_allows_and_hold_every_row():
    assert list(strips(7, 10)) == [slice(0, 7)]
    parts = list(strips(512, 8 * 10**9))
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]] and len(parts) == 4
    assert (parts[0].start, parts[-1].stop) == (0, 512) and len(list(strips(3, 10**15))) == 3


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_ct_of_800_slices_with_117_classes_needs_no_more_than_8_gb():
    command = [sys.executable, "-m", "tests.tasks.volume.known_ct", "0.9766"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert found["right"] > 0.999
    assert found["peak_gb"] < 8
