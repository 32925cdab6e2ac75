import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from medseg.errors import EngineError, ExportError
from medseg.export.chain import export
from medseg.export.fp16 import half_within, out_of_range
from medseg.export.graph import onnx_from_program, trace
from medseg.export.options import ExportOptions
from medseg.export.parity import budget_for, compare, onnx_infer, shortfall
from medseg.export.precision import element_types, half, half_share, rounded
from medseg.export.samples import Calibration, calibration, probe
from medseg.export.search import Lowering, within
from tests.export.made import Hopeless, Hostile, Overflowing, network, run_of


def prepared(build):
    """A module's network, ONNX graph and calibration."""
    torch.manual_seed(0)
    made, module = network(build), build().eval()
    program = trace(module, made)
    infer = lambda batch: module(torch.from_numpy(batch)).detach().numpy()  # noqa: E731
    return made, onnx_from_program(program, made), calibration(made, infer, None, 3)


def test_naive_half_of_a_hostile_network_misses_the_bound():
    made, full, known = prepared(Hostile)
    infer = onnx_infer(rounded(half(full)))
    parity = compare(made, known.references, [infer(sample) for sample in known.samples])
    assert shortfall(made, parity, budget_for("fp16")) is not None
    assert parity.dice < 0.9


def test_the_search_repairs_a_hostile_network_and_says_what_it_kept():
    made, full, known = prepared(Hostile)
    found = half_within(full, made, known, budget_for("fp16"))
    assert found.parity.dice >= 0.999
    norm = next(node.name for node in full.graph.node if node.op_type == "BatchNormalization")
    assert "beyond float16" in found.kept[norm]
    assert found.share["weight_bytes"] > 0.5


def test_values_that_overflow_between_layers_are_found_by_measurement():
    made, full, known = prepared(Overflowing)
    infer = onnx_infer(rounded(half(full)))
    naive = compare(made, known.references, [infer(sample) for sample in known.samples])
    assert shortfall(made, naive, budget_for("fp16"))  # seen although the CPU computes in float32
    kept = out_of_range(full, known)
    assert any("too near to float16's largest" in reason for reason in kept.values())
    assert not shortfall(made, half_within(full, made, known, budget_for("fp16")).parity, budget_for("fp16"))


def _lowering(judge):
    share = lambda kept: {"weight_bytes": 1 - len(kept) / 4}  # noqa: E731
    return Lowering("fp16", dict.fromkeys("abc", 1.0), frozenset, judge, share, least_share=0.1, most=3)


def test_float32_that_only_widens_the_margin_is_not_kept_where_the_margin_cannot_be_had():
    """Lowering flips voxels of 20,800: 38 always, 5 more by node `a`, 1 by `b`; 0.999 allows 41, 37 with margin."""
    made, mask = network(Hostile), np.full((1, 1, 500, 80), -9.0)
    mask[..., :260, :] = 9.0

    def judge(kept):
        answer = mask.copy()
        answer.flat[: 38 + 5 * ("a" not in kept) + ("b" not in kept)] = -9.0
        return lambda sample: answer

    lowering = _lowering(judge)
    found = within(lowering, made, Calibration([mask], [mask], "made"), budget_for("fp16"), {})
    assert set(found.kept) == {"a"} and found.parity.flipped == 39


@pytest.mark.parametrize("repairable", [True, False])
def test_a_lost_lesion_is_repaired_by_the_search_or_refused(repairable):
    """Lowering loses 25 of 14,425 voxels, a Dice of 0.9991: all of one of the two lesions."""
    made, mask = network(Hostile), np.full((1, 1, 100, 200), -9.0)
    mask[..., 10:90, 10:190] = 9.0
    mask[..., 93:98, 93:98] = 9.0

    def judge(kept):
        answer = mask.copy()
        answer[..., 92:, :] = -9.0
        return lambda sample: mask if repairable and "b" in kept else answer

    lowering = _lowering(judge)
    known = Calibration([mask], [mask], "made")
    if repairable:
        found = within(lowering, made, known, budget_for("fp16"), {})
        assert "b" in found.kept and found.parity.lost == 0
    else:
        with pytest.raises(ExportError, match="lose 1 of 2 lesions"):
            within(lowering, made, known, budget_for("fp16"), {})


def test_a_network_that_cannot_be_half_is_refused_and_not_recorded(tmp_path):
    torch.manual_seed(0)
    run = run_of(Hopeless(), tmp_path / "run")
    failed = export(run, network(Hopeless), ExportOptions(fp16=True, samples=2), lambda stage: None)
    assert "is not recorded" in failed["fp16.onnx"]
    assert set(run.files) == {"weights.pt", "fp32.pt2", "fp32.onnx"}
    assert sorted(path.name for path in run.path.iterdir()) == ["fp32.onnx", "fp32.pt2", "manifest.json", "weights.pt"]


def test_half_keeps_float32_at_the_boundary_and_is_valid():
    _, full, _ = prepared(Hostile)
    model = half(full)
    onnx.checker.check_model(model, full_check=True)
    types = element_types(model)
    assert types["input"] == types["output"] == TensorProto.FLOAT
    assert half_share(model) == {"layers": 1.0, "weight_bytes": 1.0}


def test_a_node_that_is_kept_computes_as_before():
    _, full, known = prepared(Hostile)
    model = half(full, {node.name for node in full.graph.node})
    assert half_share(model)["weight_bytes"] == 0
    sample = known.samples[0]
    np.testing.assert_array_equal(onnx_infer(model)(sample), onnx_infer(full)(sample))


def test_scales_of_a_resize_stay_float32_where_the_schema_says_so():
    nodes = [helper.make_node("Resize", ["input", "", "scales"], ["output"], name="Resize_0", mode="nearest")]
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 2, 2])
    boundary = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in BOUNDARY]
    graph = helper.make_graph(nodes, "g", boundary[:1], boundary[1:], [scales])
    model = half(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))
    onnx.checker.check_model(model, full_check=True)
    assert element_types(model)["scales"] == TensorProto.FLOAT
    assert [node.op_type for node in model.graph.node] == ["Cast", "Resize", "Cast"]


BOUNDARY = (("input", ["n", 1, 4, 4]), ("output", ["n", 1, 8, 8]))


def test_an_operator_that_onnx_does_not_know_is_named():
    nodes = [helper.make_node("Mystery", ["input"], ["output"], name="Mystery_0", domain="acme")]
    boundary = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1, 4, 4]) for name in ("input", "output")]
    graph = helper.make_graph(nodes, "g", boundary[:1], boundary[1:])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("acme", 1)]
    with pytest.raises(ExportError, match="operator Mystery"):
        half(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def test_made_up_samples_stay_in_the_range_and_repeat():
    made = network(Hostile)
    first, again = probe(made, 2, seed=3), probe(made, 2, seed=3)
    np.testing.assert_array_equal(first, again)
    assert first[0].shape == (1, 1, 96, 96)
    assert first[0].dtype == np.float32
    assert -1000 <= first[0].min() < -500 < 0 < first[0].max() <= 1000


class Unsound(Hostile):
    """A network of finite weights whose every answer is NaN."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(-1 - super().forward(x).abs())


class OneClassTooMany(Hostile):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer = super().forward(x)
        return torch.cat([answer, answer], 1)


@pytest.mark.parametrize("build", [Unsound, OneClassTooMany])
def test_a_network_whose_own_answers_are_none_is_not_exported(tmp_path, build):
    run = run_of(build(), tmp_path / "run")
    with pytest.raises(EngineError, match="network 'made' answered"):
        export(run, network(build), ExportOptions(samples=1), lambda stage: None)
    assert "fp32.onnx" not in run.files


def test_an_answer_of_another_shape_than_torchs_is_refused():
    answer = np.zeros((1, 1, 8, 8), np.float32)
    with pytest.raises(ExportError, match=r"answers with shape \(1, 8, 8, 1\), but torch with \(1, 1, 8, 8\)"):
        compare(network(Hostile), [answer], [answer.transpose(0, 2, 3, 1)])
