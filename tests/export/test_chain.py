import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest

from medseg.engines import open_engine
from medseg.errors import ExportError
from medseg.export.chain import export
from medseg.export.options import ExportOptions
from medseg.export.parity import Budget, budget_for, compare, log_odds, shortfall
from medseg.export.samples import drawn
from medseg.run import Run
from medseg.tasks import network_named, task_named, task_of
from tests.export.made import Hostile, network, run_of
from tests.patience import PATIENCE_S
from tests.shared import SHARED, needs_shared

LUNA = SHARED / "data" / "luna"
QUIET = lambda stage: None  # noqa: E731


@needs_shared
@pytest.mark.parametrize("name", ["luna-segment", "luna-nodule"])
def test_published_networks_hold_the_bound_in_fp16_on_the_real_ct(published_runs, name):
    facts = published_runs[name].files["fp16.onnx"]
    assert facts["parity"]["dice"] >= 0.999
    assert facts["parity"]["finite"]
    assert "from" in facts["parity"]["calibration"] and "luna" in facts["parity"]["calibration"]
    assert "BatchNormalization_0" in facts["kept_fp32"]  # takes raw HU
    assert facts["share_fp16"]["weight_bytes"] > 0.9
    if name == "luna-nodule":
        assert facts["parity"]["probability_error"] < 0.01


@needs_shared
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_engines_open_the_fp16_file_unchanged(published_runs, engine):
    run = published_runs["luna-nodule"]
    crops = np.concatenate(drawn(network_named("luna-nodule"), LUNA, 3).samples)
    expected = open_engine("torch", run.file(precision="fp32", suffix=".pt2"))(crops)
    found = open_engine(engine, run.file(precision="fp16", suffix=".onnx"))(crops)
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_onnx_carries_its_metadata_and_named_free_axes(tmp_path):
    run = run_of(Hostile(), tmp_path / "run")
    assert not export(run, network(Hostile), ExportOptions(samples=2), QUIET)
    model = onnx.load(run.path / "fp32.onnx")
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["network"] == "made" and json.loads(facts["classes"]) == ["thing"]
    assert json.loads(facts["input_range"]) == [-1000, 1000]
    assert facts["precision"] == "fp32" and facts["medseg"] and facts["task"] == ""
    assert model.ir_version == 10 and [(one.domain, one.version) for one in model.opset_import] == [("", 20)]
    for value in (model.graph.input[0], model.graph.output[0]):
        assert [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] == [
            "batch",
            1,
            "4*h",
            "4*w",
        ]
    engine = open_engine("onnxruntime", run.path / "fp32.onnx")
    assert engine(np.zeros((3, 1, 8, 20), np.float32)).shape == (3, 1, 8, 20)


def test_what_cannot_be_traced_is_one_error(tmp_path):
    class Deciding(Hostile):
        def forward(self, x):
            return x if x.mean() > 0 else -x

    with pytest.raises(ExportError, match="network made cannot be traced with free axes"):
        export(run_of(Deciding(), tmp_path / "run"), network(Deciding), ExportOptions(), QUIET)


def test_int8_without_data_is_refused_before_the_work(tmp_path):
    with pytest.raises(ExportError, match="--calibration"):
        export(run_of(Hostile(), tmp_path / "run"), network(Hostile), ExportOptions(int8=True), QUIET)


def test_a_full_disk_is_one_error_and_leaves_no_half_written_file(tmp_path):
    run = run_of(Hostile(), tmp_path / "run")
    code = f"""
import resource, signal, sys
from medseg.errors import MedsegError
from medseg.export.chain import export
from medseg.export.options import ExportOptions
from medseg.run import Run
from tests.export.made import Hostile, network
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    export(Run({str(run.path)!r}), network(Hostile), ExportOptions(samples=1), lambda stage: None)
except MedsegError as error:
    sys.exit(f"error: {{error}}")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: ") and "cannot be written" in done.stderr
    assert sorted(path.name for path in run.path.iterdir()) == ["manifest.json", "weights.pt"]
    assert not Run(run.path).problems()


def test_a_changed_byte_is_found(tmp_path):
    run = run_of(Hostile(), tmp_path / "run")
    export(run, network(Hostile), ExportOptions(samples=1), QUIET)
    assert not run.problems()
    path = run.path / "fp32.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert len(run.problems()) == 1 and "fp32.onnx" in run.problems()[0]


def test_dice_is_of_voxels_over_all_samples_and_probabilities_judge_empty_masks():
    made = network(Hostile)
    mask = np.full((1, 1, 32, 32), -9.0)
    mask[..., :16, :] = 9.0
    moved = mask.copy()
    moved[..., :4, :] = -9.0
    parity = compare(made, [mask, mask], [mask, moved])
    assert parity.dice == pytest.approx(2 * (512 + 384) / (1024 + 896))
    assert parity.flipped == 128
    assert "Dice" in shortfall(made, parity, Budget(0.999, 0.01))
    empty = np.full((1, 1, 32, 32), -9.0)
    assert "probabilities" in shortfall(made, compare(made, [empty], [empty + 8.5]), Budget(0.999, 0.01))
    assert shortfall(made, compare(made, [empty], [empty]), Budget(0.999, 0.01)) is None
    full, holed = -empty, -empty  # Dice is nearly 1 where there is nothing to miss
    holed[..., :5] = 0.1
    assert "probabilities" in shortfall(made, compare(made, [full], [holed]), Budget(0.999, 0.01))


def test_a_classifier_is_bounded_in_log_odds_where_its_probabilities_are_saturated():
    made = network_named("luna-nodule")
    sure = np.array([[-7.0, 7.0], [-6.0, 6.0], [3.0, -3.0]])
    np.testing.assert_allclose(log_odds(sure)[:, 0], [14, 12, -6])
    swapped = sure[[1, 0, 2]]
    parity = compare(made, [sure], [swapped])
    assert parity.probability_error < 1e-4 and parity.odds_error == pytest.approx(2 / 12)
    assert "log-odds differ by 16.67%, at most 5.00%" in shortfall(made, parity, budget_for("int8"))
    assert not shortfall(made, compare(made, [sure], [sure + 0.1]), budget_for("int8"))


def test_nan_is_never_good_enough():
    made = network(Hostile)
    fine = np.full((1, 1, 32, 32), 9.0)
    broken = fine.copy()
    broken[0, 0, 0, 0] = np.nan
    assert "NaN" in shortfall(made, compare(made, [fine], [broken]), Budget(0, 1))


def test_lesions_are_pieces_with_an_inside_and_lost_where_nothing_touches_them():
    made = network(Hostile)
    mask = np.full((1, 1, 64, 64), -9.0)
    mask[..., 8:48, 8:48] = 9.0  # a large lesion,
    mask[..., 54:58, 54:58] = 9.0  # a small one,
    mask[..., 4, 54:57] = 9.0  # and a speck
    without = mask.copy()
    without[..., 50:, 50:] = -9.0
    without[..., 4, 50:] = -9.0
    parity = compare(made, [mask], [without])
    assert (parity.lesions, parity.lost, parity.gained) == (2, 1, 0)
    assert compare(made, [without], [mask]).gained == 1
    assert "lose 1 of 2 lesions, at most 0" in shortfall(made, parity, Budget(0.98, 0.01))
    touched = without.copy()
    touched[..., 54, 54] = 9.0
    assert compare(made, [mask], [touched]).lost == 0


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize(
    ("lost", "reason"),
    [
        ((slice(10, 11), slice(1950, 1960)), "'class 40' have Dice 0.94"),  # a tenth of it
        ((slice(30, 34), slice(1950, 1955)), "miss every lesion of 'class 41'"),  # too small for a Dice, and gone
    ],
)
def test_a_class_that_suffers_is_refused_though_all_together_are_fine(activation, lost, reason):
    """Classes 1 to 39 have 3,000 voxels each, class 40 has 100, class 41 has 20."""
    classes = tuple(f"class {number}" for number in range(1, 42))
    made = replace(network(Hostile), classes=classes, activation=activation, output_shape=(42, 64, 2000))
    labels = np.zeros((64, 2000), int)
    for number in range(1, 40):
        labels[:60, 50 * (number - 1) : 50 * number] = number
    labels[10:20, 1950:1960], labels[30:34, 1950:1955] = 40, 41
    worse = labels.copy()
    worse[lost] = 0
    first = 0 if activation == "softmax" else 1
    reference, answer = (9.0 * (one == np.arange(first, 42)[:, None, None])[None] - 4.5 for one in (labels, worse))
    parity = compare(made, [reference], [answer])
    assert parity.dice > 0.999
    assert reason in shortfall(made, parity, budget_for("int8"))
    assert not shortfall(made, compare(made, [reference], [reference]), budget_for("int8"))


@pytest.mark.parametrize("name", ["brain-lgg", "gi-tract", "stas-efficientnet-b6"])
def test_samples_are_what_the_pipeline_feeds_and_carry_their_truth(tmp_path, name):
    made = network_named(name)
    task = task_named(task_of(made))
    task.known_data("test").phantom(tmp_path, 2, 0)
    known = drawn(made, tmp_path, 2)
    assert len(known.samples) == 2 and str(tmp_path) in known.origin
    for sample, truth in zip(known.samples, known.truths, strict=True):
        assert sample.shape == (1, *made.input_shape) and sample.dtype == np.float32
        assert truth.shape == (1, *made.output_shape) and truth.dtype == bool and truth.any()
    heard = []

    def infer(batch):
        heard.append(batch)
        return np.zeros((len(batch), *made.output_shape), np.float32)

    layout = task.known_data("test")
    for case in layout.cases(tmp_path, layout.patients(tmp_path)[0]):
        task.pipeline(case.ask(), lambda _: infer)
    away = np.abs(np.concatenate(heard) - known.samples[0]).max(axis=(1, 2, 3))
    assert away.min() < 1e-6
