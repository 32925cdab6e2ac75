"""MONAI's bundles: what is read of their configuration, what is refused by name, and `monai.bundle run`'s answers."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from medseg.bringing import NetworkOptions
from medseg.data.volume import read_volume
from medseg.errors import InputError
from medseg.run import Run
from medseg.task import Reading
from medseg.tasks import task_as
from medseg.tasks.volume.monai.bundle import Bundle
from medseg.tasks.volume.monai.importing import imported
from medseg.tasks.volume.monai.transforms import AFTER, BEFORE, Said, read
from tests.shared import SHARED, needs_shared

BUNDLE = SHARED / "nnunet" / "monai_bundle"


def said(*transforms: dict, known=BEFORE, channels: int = 1, before: Said | None = None) -> Said:
    found = before or Said()
    read(transforms, channels, found, known)
    return found


SPACING = {"_target_": "monai.transforms.Spacingd", "keys": "image", "pixdim": [1, 1, 2], "mode": "bilinear"}


def test_transforms_become_what_inference_needs():
    found = said(
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
        {"_target_": "ScaleIntensityRangeD", "keys": "image", "a_min": -57, "a_max": 164, "b_min": 0, "b_max": 1},
        {"_target_": "Flipd", "_disabled_": True},
        SPACING,
    )
    assert (found.orientation, found.spacing_mm, found.normalised_last) == ("RAS", [1, 1, 2], False)
    assert found.scheme == {"scheme": "range", "low": -57, "high": 164, "to_low": 0, "to_high": 1, "clip": False}


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"_target_": "Flipd"}, "'Flipd', which medseg does not know"),
        ({"_target_": "os.system"}, r"'os\.system', which medseg does not know"),
        (SPACING | {"mode": "nearest"}, "mode 'nearest'"),
        (SPACING | {"pixdim": [1, 1]}, "pixdim"),
        (SPACING | {"scale_extent": True}, "scale_extent True"),
        (SPACING | {"odd": 1}, "the argument 'odd'"),
        ({"_target_": "NormalizeIntensityd", "channel_wise": False}, "channel_wise"),
        ({"_target_": "CropForegroundd", "source_key": "image"}, "its place"),
    ],
)
def test_what_is_not_known_is_refused_by_its_name(transform, message):
    with pytest.raises(InputError, match=message):
        said(transform, channels=2)


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        (
            [{"_target_": "AsDiscreted", "argmax": True}, {"_target_": "Invertd", "nearest_interp": False}],
            "its place after",
        ),
        ([{"_target_": "Invertd"}], "nearest_interp True"),
        ([{"_target_": "AsDiscreted"}], "neither argmax nor threshold"),
        ([{"_target_": "Activationsd", "softmax": True, "sigmoid": True}], "softmax and sigmoid"),
    ],
)
def test_answers_that_are_brought_back_another_way_are_refused(transforms, message):
    with pytest.raises(InputError, match=message):
        said(*transforms, known=AFTER)


def test_references_are_followed_and_expressions_are_not_run():
    config = {
        "size": [96, 96, 16],
        "roi": "@size",
        "inferer": {"roi_size": "@roi", "odd": "$__import__('os')"},
        "a": "@a",
    }
    bundle = Bundle(Path(), {}, config, Path())
    assert bundle.value("@inferer::roi_size") == [96, 96, 16]
    for value, message in (("@inferer::odd", "runs no code"), ("@nothing", "no entry"), ("@a", "refers to itself")):
        with pytest.raises(InputError, match=message):
            bundle.value(value)


@needs_shared
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("inferer", "roi_size"), "$[96, 96, 16]", "is an expression"),
        (("inferer", "_target_"), "SimpleInferer", "SimpleInferer"),
        (("network_def", "_target_"), "os.system", r"os\.system"),
        (("network_def", "init_filters"), 16, "does not fit"),
    ],
)
def test_a_bundle_that_cannot_be_followed_is_one_sentence(tmp_path, path, value, message):
    config = json.loads((BUNDLE / "configs" / "inference.json").read_text())
    changed = copy.deepcopy(config)
    changed[path[0]][path[1]] = value
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.json").write_text(json.dumps(changed))
    (tmp_path / "configs" / "metadata.json").write_bytes((BUNDLE / "configs" / "metadata.json").read_bytes())
    (tmp_path / "models").symlink_to(BUNDLE / "models")
    with pytest.raises(InputError, match=message):
        imported(tmp_path, NetworkOptions())


@needs_shared
@pytest.mark.long
def test_every_voxel_is_as_monai_wrote_it(tmp_path):
    from typer.testing import CliRunner

    from medseg.cli.main import app
    from medseg.engines.runs import opened

    run = tmp_path / "run"
    result = CliRunner().invoke(app, ["import", "monai", str(BUNDLE), "--out", str(run)])
    assert result.exit_code == 0, result.output
    held = [Run(run)]
    task = task_as("volume", held)
    with opened(held, "torch", "fp32") as networks:
        for source in task.files.sources(SHARED / "nnunet" / "inputs" / "lgg", Reading()):
            answer = task.pipeline(dict(source.load().tensors), networks)
            expected = read_volume(
                SHARED / "nnunet" / "reference" / "monai" / f"{source.name}_0000_seg.nii.gz", Reading(real=True)
            )
            assert np.count_nonzero(answer["mask"] != expected.array) <= expected.array.size // 20_000
