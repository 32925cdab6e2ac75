"""Models of nnU-Net v2: what is read of them, what is refused, and the answers of nnUNetv2_predict."""

import copy
import json
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.data.geometry import geometry_tensor
from medseg.data.volume import read_volume
from medseg.errors import InputError
from medseg.task import Reading
from medseg.tasks.volume.networks import network
from medseg.tasks.volume.nnunet import model as models
from medseg.tasks.volume.nnunet.describe import configuration, document, heads, inputs
from medseg.tasks.volume.nnunet.network import Folds, architecture, built, read_fold
from medseg.tasks.volume.pipeline import Stage, pipeline
from medseg.tasks.volume.plan import described_plan
from tests.shared import SHARED, needs_shared

NNUNET = SHARED / "nnunet"
RESULTS = NNUNET / "results"
LGG_2D = "Dataset501_LGG/nnUNetTrainer_20epochs__nnUNetPlans__2d"
LGG_3D = "Dataset501_LGG/nnUNetTrainer_20epochs__nnUNetPlans__3d_fullres"
CASCADE = "Dataset502_Lungs/nnUNetTrainerNoMirroring__nnUNetPlans__3d_cascade_fullres"
LOWRES = "Dataset502_Lungs/nnUNetTrainerNoMirroring__nnUNetPlans__3d_lowres"
REGIONS = "Dataset503_LGGRegions/nnUNetTrainerTinyExternal__nnUNetPlans__2d"
AS_THEY_ARE = Reading(real=True)

PLANS = {
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "configurations": {
        "3d_fullres": {
            "patch_size": [16, 32, 32],
            "spacing": [5.0, 1.0, 1.0],
            "normalization_schemes": ["CTNormalization", "ZScoreNormalization"],
            "use_mask_for_norm": [False, True],
            "UNet_class_name": "PlainConvUNet",
            "UNet_base_num_features": 4,
            "unet_max_num_features": 8,
            "n_conv_per_stage_encoder": [2, 2],
            "n_conv_per_stage_decoder": [2],
            "num_pool_per_axis": [0, 1, 1],
            "pool_op_kernel_sizes": [[1, 1, 1], [1, 2, 2]],
            "conv_kernel_sizes": [[1, 3, 3], [3, 3, 3]],
        },
        "small": {"inherits_from": "3d_fullres", "spacing": [5.0, 2.0, 2.0]},
    },
    "foreground_intensity_properties_by_modality": {
        "0": {"mean": -20.5, "std": 90.0, "percentile_00_5": -300.0, "percentile_99_5": 200.0},
        "1": {},
    },
}
DATASET = {"modality": {"0": "CT", "1": "T1/T2"}, "labels": {"background": 0, "liver": 1, "tumour": 2}}


def made(
    folder: Path, plans=PLANS, dataset=DATASET, name="nnUNetTrainer__nnUNetPlans__3d_fullres", folds=("0",)
) -> Path:
    where = folder / name
    for fold in folds:
        (where / f"fold_{fold}").mkdir(parents=True)
        (where / f"fold_{fold}" / "checkpoint_final.pth").write_bytes(b"")
    (where / "plans.json").write_text(json.dumps(plans))
    (where / "dataset.json").write_text(json.dumps(dataset))
    return where


def described(path: Path, configuration: str | None = None) -> dict:
    return document(models.found(path, configuration, None, "checkpoint_final.pth"), (0, 1), {})


def changed(document: dict, **entries) -> dict:
    """A copy with entries at dotted paths (with __) replaced."""
    new = copy.deepcopy(document)
    for path, value in entries.items():
        *above, last = path.split("__")
        place = new
        for name in above:
            place = place[name]
        place[last] = value
    return new


def test_plans_of_the_old_format_say_all_that_inference_needs(tmp_path):
    found = described(made(tmp_path))
    _, plan = described_plan(found, "it")
    assert plan.schemes[0] == {"scheme": "window", "low": -300, "high": 200, "mean": -20.5, "std": 90}
    assert plan.schemes[1] == {"scheme": "zscore", "masked": True}
    assert [channel["name"] for channel in found["channels"]] == ["CT", "T1-T2"]
    assert (plan.window.patch, plan.spacing_mm, plan.mirrors) == ((16, 32, 32), (5.0, 1.0, 1.0), (0, 1))
    assert plan.heads.values == (0, 1, 2) and plan.heads.exclusive
    assert found["network"]["arguments"]["features_per_stage"] == [4, 8]


def test_a_configuration_takes_what_it_inherits(tmp_path):
    found = described(made(tmp_path, name="T__P__small"))
    assert found["spacing_mm"] == [5.0, 2.0, 2.0] and found["window"]["patch"] == [16, 32, 32]


def test_regions_are_written_in_their_order_and_ignored_labels_are_no_class(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    found = described(made(tmp_path, dataset=DATASET | {"labels": labels, "regions_class_order": [1, 2]}))
    _, plan = described_plan(found, "it")
    assert [one["name"] for one in found["classes"]] == ["whole", "core"]
    assert plan.heads.values == (1, 2) and not plan.heads.exclusive


def test_a_cascade_takes_the_labels_of_the_stage_before(tmp_path):
    plans = changed(PLANS, configurations__small__previous_stage="3d_lowres")
    found = described(made(tmp_path, plans, name="T__P__small"))
    assert found["previous"] == {"configuration": "3d_lowres", "labels": [1, 2]} and inputs(found) == 4


@pytest.mark.parametrize(
    ("plans", "dataset", "message"),
    [
        ({"image_reader_writer": "NaturalImage2DIO"}, {}, "NaturalImage2DIO"),
        ({"configurations__3d_fullres__normalization_schemes": ["Odd", "NoNormalization"]}, {}, "'Odd'"),
        ({"configurations__3d_fullres__normalization_schemes": ["NoNormalization"]}, {}, "1 channels"),
        (
            {"configurations__3d_fullres__resampling_fn_data": "resample_torch_fornnunet"},
            {},
            "resample_torch_fornnunet",
        ),
        ({"configurations__3d_fullres__UNet_class_name": "Odd"}, {}, "'Odd'"),
        ({"configurations__3d_fullres__patch_size": [16, 32, 32, 4]}, {}, "patch_size"),
        ({"foreground_intensity_properties_by_modality": {}}, {}, "percentile_00_5"),
        ({"transpose_forward": None}, {}, "transpose_forward"),
        ({}, {"labels": {"background": 0, "liver": 2}}, r"\[2\]"),
        ({}, {"labels": {"background": 0, "a": [1, 2], "b": 2}}, "regions_class_order"),
        ({}, {"labels": {}}, "no labels"),
        ({}, {"labels": {"background": 0, "liver": "one"}}, "'liver'"),
        ({}, {"modality": {"1": "CT", "2": "MR"}}, "numbers its channels"),
        ({}, {"modality": {}}, "channel_names"),
    ],
)
def test_what_cannot_be_done_as_nnunet_does_is_named(tmp_path, plans, dataset, message):
    with pytest.raises(InputError, match=message):
        described(made(tmp_path, changed(PLANS, **plans), DATASET | dataset))


def test_a_zip_holds_one_configuration_or_it_is_named(tmp_path):
    for name in ("T__P__3d_fullres", "T__P__small"):
        made(tmp_path / "all" / "Dataset001_X", name=name)
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for path in sorted((tmp_path / "all").rglob("*")):
            archive.write(path, path.relative_to(tmp_path / "all"))
    with pytest.raises(InputError, match="several configurations"):
        described(tmp_path / "model.zip")
    assert described(tmp_path / "model.zip", "small")["configuration"] == "small"
    with pytest.raises(InputError, match="no configuration '2d'"):
        described(tmp_path / "model.zip", "2d")


@pytest.mark.parametrize(
    ("folds", "checkpoint", "message"),
    [
        (["3"], "checkpoint_final.pth", "no fold 3; it has 0, 1"),
        (["0"], "checkpoint_best.pth", "the fold has checkpoint_final.pth"),
        (["0"], "../x.pth", "--checkpoint"),
    ],
)
def test_a_fold_or_a_checkpoint_that_is_not_there_is_told_with_what_is(tmp_path, folds, checkpoint, message):
    where = made(tmp_path, folds=("0", "1", "all"))
    with pytest.raises(InputError, match=message):
        models.found(where, None, folds, checkpoint)
    assert list(models.found(where, None, None, "checkpoint_final.pth").checkpoints) == ["0", "1"]


@pytest.mark.parametrize("name", ["os.system", "torch.nn.functional.relu", "torch.nn.Module.apply", "torch.hub.load"])
def test_plans_name_layers_of_torch_and_nothing_else(tmp_path, name):
    pytest.importorskip("dynamic_network_architectures")
    known = architecture(PLANS["configurations"]["3d_fullres"])
    odd = type(known)(known.name, {**known.arguments, "nonlin": name}, known.imported)
    fold = type("Fold", (), {"weights": {}, "trainer": "", "mirrors": ()})
    with pytest.raises(InputError, match=r"expected one of torch\.nn's"):
        built(odd, 1, 2, fold, tmp_path / "x")
    strange = type(known)("subprocess.Popen", known.arguments, known.imported)
    with pytest.raises(InputError, match=r"'subprocess\.Popen'"):
        built(strange, 1, 2, fold, tmp_path / "x")


def loaded(path: Path, folds: list[str] | None = None) -> tuple[Stage, torch.nn.Module]:
    model = models.found(path, None, folds, "checkpoint_final.pth")
    kept = {name: read_fold(file) for name, file in model.checkpoints.items()}
    found = document(model, next(iter(kept.values())).mirrors, {})
    known = architecture(configuration(model.plans, model.configuration))
    modules = [built(known, inputs(found), heads(found), kept[name], file) for name, file in model.checkpoints.items()]
    description, plan = described_plan(found, str(path))
    return Stage(plan, network(description, plan)), modules[0] if len(modules) == 1 else Folds(modules)


def asked(module: torch.nn.Module, batch: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return module(torch.from_numpy(batch)).numpy()


def differing(paths: list[str], case: str, reference: str, mirror: int = 2, folds: list[str] | None = None) -> int:
    """How many voxels of a case differ from what nnUNetv2_predict wrote."""
    loads = [loaded(RESULTS.parent / path, folds) for path in paths]
    volumes = [read_volume(path, AS_THEY_ARE) for path in sorted((NNUNET / "inputs").glob(f"{case}_0*.nii.gz"))]
    networks = {stage.network.name: partial(asked, module) for stage, module in loads}
    image = np.stack([volume.array for volume in volumes])
    tensors = {"image": image, "geometry": geometry_tensor(volumes[0].geometry), "mirror": np.array([mirror], np.uint8)}
    if mirror == 2 and not loads[-1][0].plan.mirrors:
        del tensors["mirror"]
    mask = pipeline([stage for stage, _ in loads])(tensors, networks.__getitem__)["mask"]
    expected = read_volume(NNUNET / "reference" / reference / f"{case.split('/')[1]}.nii.gz", AS_THEY_ARE)
    return int(np.count_nonzero(mask != expected.array))


@needs_shared
@pytest.mark.parametrize(
    ("paths", "case", "reference", "mirror"),
    [
        ([f"results/{LGG_3D}"], "small/small_4944", "small_3d_f0_notta", 1),
        ([f"results/{REGIONS}"], "regions2/TCGA_HT_7616", "regions_oblique_2d_f0_notta", 1),
    ],
)
def test_every_voxel_is_as_nnunetv2_predict_wrote_it(paths, case, reference, mirror):
    pytest.importorskip("dynamic_network_architectures")
    assert differing(paths, case, reference, mirror) == 0


@needs_shared
@pytest.mark.long
@pytest.mark.parametrize(
    ("paths", "case", "reference", "mirror", "folds"),
    [
        ([f"results/{LGG_3D}"], "small/small_4944", "small_3d_f0_tta", 2, None),
        ([f"results/{LGG_2D}"], "lgg/TCGA_CS_4944", "lgg_2d_f01_tta", 2, ["0", "1"]),
        ([f"results_oldplans/{LGG_2D}"], "lgg/TCGA_DU_5851", "oldplans_lgg_2d_f0_notta", 1, ["0"]),
        ([f"results/{LOWRES}", f"results/{CASCADE}"], "ct/lung_T08", "ct_cascade_f0", 2, None),
    ],
)
def test_folds_old_plans_and_a_cascade_too(paths, case, reference, mirror, folds):
    pytest.importorskip("dynamic_network_architectures")
    assert differing(paths, case, reference, mirror, folds) == 0
