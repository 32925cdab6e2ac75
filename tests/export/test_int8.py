"""The ways to an int8 file: who bears the channels' differences, which samples give ranges, what must stay float."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from medseg.engines import ENGINES, Kind, open_engine
from medseg.errors import ExportError
from medseg.export.chain import export
from medseg.export.evening import ranges_of
from medseg.export.fp16 import half_within
from medseg.export.fusions import miscomputed
from medseg.export.graph import OPSET
from medseg.export.int8 import int8_within
from medseg.export.lessons import seen
from medseg.export.options import ExportOptions
from medseg.export.parity import Budget, budget_for, compare, onnx_infer
from medseg.export.products import multiply_adds
from medseg.export.quantize import int8_share
from medseg.export.samples import Calibration
from medseg.export.search import Lowered, Lowering, tried
from medseg.export.ways import STRENGTHS, Turn, Way, Ways
from medseg.models.given_onnx import infer_of, ours, read_graph
from medseg.run import Run
from medseg.task import Array, Network
from medseg.tasks import task_named
from medseg.train.weights import save_weights
from tests.export.kinds import KINDS, Made, evened_ways, made_of, samples_of
from tests.export.made import network


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "solid"])
@pytest.mark.parametrize("which", range(len(STRENGTHS)))
def test_openvino_answers_as_onnx_says(kind: str, which: int, tmp_path: Path) -> None:
    """Its answers were zeros where channels of one pixel are divided, and wrong where a sum over a stack is read."""
    pytest.importorskip("openvino")
    made = made_of(KINDS[kind])
    found = next(int8_within([Turn(evened_ways(made)[which : which + 1])], made.network, made.known, Budget(0.0, 1.0)))
    onnx.save(found.model, tmp_path / "int8.onnx")
    engine, infer = open_engine("openvino", tmp_path / "int8.onnx"), onnx_infer(found.model)
    for sample in made.known.samples:
        answer, expected = engine(sample), infer(sample)
        assert np.abs(answer - expected).mean() < 0.02 * expected.std()
    engine.close()
    assert not found.kept or kind == "merged"


@pytest.mark.parametrize("kind", ["planes", "squeezed", "deciding"])
@pytest.mark.parametrize("name", ["", "node"])
def test_a_graph_of_others_has_weights_and_nodes_that_are_found(kind: str, name: str, tmp_path: Path) -> None:
    """Some exporters give nodes no names, or all the same, and hold weights in nodes called Constant."""
    made, theirs = made_of(KINDS[kind]), onnx.ModelProto()
    theirs.CopyFrom(made.model)
    constants = [helper.make_node("Constant", [], [one.name], value=one) for one in theirs.graph.initializer]
    nodes = [*constants, *made.model.graph.node]
    del theirs.graph.node[:], theirs.graph.initializer[:]
    theirs.graph.node.extend(nodes)
    for node in theirs.graph.node:
        node.name = name
    onnx.save(theirs, tmp_path / "theirs.onnx")
    read = read_graph(tmp_path / "theirs.onnx")
    assert np.allclose(infer_of(read)(made.known.samples[0]), made.known.references[0], atol=1e-3)
    graph = ours(read, OPSET)
    ranges, expected = evened_ways(replace(made, model=graph))[0].ranges, evened_ways(made)[0].ranges
    assert [one.steps.tolist() for one in ranges.values()] == [one.steps.tolist() for one in expected.values()]
    found = next(
        int8_within([Turn(evened_ways(replace(made, model=graph)))], made.network, made.known, Budget(0.0, 1.0))
    )
    assert found.share["weight_bytes"] == 1.0
    assert half_within(graph, made.network, made.known, budget_for("fp16")).share["weight_bytes"] > 0.5


class Careless:
    """An engine that answers the opposite where a product of these names is in int8."""

    names: frozenset[str] = frozenset()

    def __init__(self, file: Path, threads: int, streams: int) -> None:
        model = onnx.load(file)
        rounded = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
        self._wrong = any(node.name in self.names and node.input[1] in rounded for node in model.graph.node)
        self._infer = onnx_infer(model)

    def __call__(self, batch: Array) -> Array:
        return -self._infer(batch) if self._wrong else self._infer(batch)

    def close(self) -> None:
        """It holds nothing."""


@pytest.mark.parametrize("count", [1, 2, 4])
def test_what_an_engine_computes_wrongly_stays_float(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_of(KINDS["planes"])
    lowering = evened_ways(made)[0].lowering(made.known)
    assert len(lowering.names) == 4 and not miscomputed(lowering, made.known.samples)
    monkeypatch.setattr(Careless, "names", frozenset(lowering.names[-count:]))
    monkeypatch.setitem(ENGINES, "careless", Kind(f"{__name__}:Careless", ".onnx", "numpy", "careless"))
    found = miscomputed(lowering, made.known.samples)
    assert found == dict.fromkeys(lowering.names[-count:], "careless computes it wrongly in int8")


def test_only_products_with_weights_become_int8() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.look, self.last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = self.look(x / 1000)
            tokens = nn.functional.avg_pool2d(found, 24).flatten(2)
            weights = (tokens.transpose(1, 2) @ tokens).softmax(2)
            return self.last(found * (tokens @ weights).mean(2)[..., None, None])

    made = made_of(replace(network(Attending), free_axes={}))
    found = next(int8_within([Turn(evened_ways(made))], made.network, made.known, Budget(0.0, 1.0)))
    rounded = {node.output[0] for node in found.model.graph.node if node.op_type == "DequantizeLinear"}
    products = [node for node in found.model.graph.node if node.op_type == "MatMul"]
    assert len(products) == 2 and not rounded & {name for node in products for name in node.input}
    assert found.share["weight_bytes"] == 1.0


def test_strength_says_who_bears_the_channels_differences() -> None:
    peaks = {"a": np.array([0.1, 10.0]), "whole": np.array([4.0])}
    inputs = {strength: peaks["a"] / ranges_of(peaks, strength)["a"].steps for strength in (0.0, 0.5, 1.0)}
    assert [round(float(values[1] / values[0]), 3) for values in inputs.values()] == [100, 10, 1]
    for strength in STRENGTHS:
        found = ranges_of(peaks, strength)
        assert np.isclose(np.max(peaks["a"] / found["a"].steps), 127) and found["a"].step == 1
        assert len(found["whole"].steps) == 1 and np.isclose(found["whole"].step, 4 / 127)


@pytest.fixture(scope="module")
def uneven() -> Made:
    """A convolution whose inputs differ by a thousand; what is small there has large weights."""
    made, draw = network(None, (4, 16, 16)), np.random.default_rng(1)
    ranges = np.array([0.03, 1.0, 5.0, 30.0]).reshape(1, 4, 1, 1)
    weights = (draw.standard_normal((1, 4, 3, 3)) / ranges).astype(np.float32)
    node = helper.make_node("Conv", ["input", "weights"], ["output"], name="Conv_0", pads=[1] * 4)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, 16, 16])
        for name, channels in (("input", 4), ("output", 1))
    ]
    graph = helper.make_graph([node], "made", ends[:1], ends[1:], [numpy_helper.from_array(weights, "weights")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    samples = [(ranges * draw.standard_normal((1, 4, 16, 16))).astype(np.float32) for _ in range(4)]
    return Made(made, model, Calibration(samples, list(map(onnx_infer(model), samples)), "made"))


def test_the_way_with_the_best_answers_comes_first(uneven: Made) -> None:
    found = Ways(uneven.model, uneven.network, uneven.known, uneven.drawn).signed
    assert sorted(way.origin for way in found) == sorted(way.origin for way in evened_ways(uneven))
    scores = [_agreement(uneven, way) for way in found]
    assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1] + 0.01
    best = next(int8_within([Turn(found)], uneven.network, uneven.known, budget_for("int8")))
    assert best.facts == {"ranges": found[0].origin} and best.facts["ranges"].startswith(
        "largest values on its samples"
    )


def _agreement(made: Made, way: Way) -> float:
    infer = onnx_infer(way.lowering(made.known).make(()))
    return compare(made.network, made.known.references, map(infer, made.known.samples)).dice


def test_a_way_that_fails_does_not_end_the_others(uneven: Made) -> None:
    good, *_ = Ways(uneven.model, uneven.network, uneven.known, uneven.drawn).signed
    bad = Way(
        good.model, {name: replace(one, steps=one.steps * 1e4) for name, one in good.ranges.items()}, "far too wide"
    )
    found = next(int8_within([Turn([bad, good])], uneven.network, uneven.known, budget_for("int8")))
    assert found.facts["ranges"] == good.origin
    with pytest.raises(ExportError, match="int8 of made is not recorded"):
        next(int8_within([Turn([bad])], uneven.network, uneven.known, budget_for("int8")))


@pytest.mark.parametrize("kind", KINDS)
def test_multiply_adds_are_those_that_torch_counts(kind: str) -> None:
    made = made_of(KINDS[kind])
    torch.manual_seed(0)
    module = made.network.build().eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.from_numpy(made.known.samples[0]))
    assert 2 * sum(multiply_adds(made.model, made.known.samples[0]).values()) == counter.get_total_flops()


def test_the_file_that_computes_the_most_in_int8_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A convolution at full size has few weights and much work: with all others in int8 a file is hardly faster."""
    made = made_of(KINDS["planes"])
    work = multiply_adds(made.model, made.known.samples[0])
    (largest, *_, smallest), found = sorted(work, key=lambda name: -work[name]), evened_ways(made)
    kept = iter([[largest], [smallest], [largest, smallest]])

    def all_within(lowering: Lowering, *_: Any) -> Iterator[Lowered]:
        one = tried(lowering, made.network, made.known, dict.fromkeys(next(kept), ""))
        yield Lowered(one.kept, one.parity, one.share | {"weight_bytes": 0.5}, lowering.make(one.kept))

    monkeypatch.setattr("medseg.export.int8.all_within", all_within)
    first, *_ = int8_within([Turn(found[:3])], made.network, made.known, budget_for("int8"))
    assert [*first.kept] == [smallest] and first.facts["ranges"] == found[1].origin


def test_ranges_come_from_samples_that_judge_nothing_or_from_all_that_do(tmp_path: Path) -> None:
    task = task_named("brain-lgg")
    task.known_data("test").phantom(tmp_path, 8, 0)
    made, nothing = task.networks[0], Calibration([], [], "")
    every = seen(made, tmp_path, Calibration(samples_of(KINDS["planes"], 2), [], "2 others")).samples
    assert len(every) == 8
    some = seen(made, tmp_path, replace(nothing, samples=every[:2], origin="2 samples"))
    assert some.origin == f"6 samples from {tmp_path}"
    assert not {one.tobytes() for one in every[:2]} & {one.tobytes() for one in some.samples}
    few = seen(made, tmp_path, replace(nothing, samples=every, origin="8 samples"))
    assert (len(few.samples), few.origin) == (8, "the 8 samples, on which the file is judged too")


def _exported(folder: Path) -> dict[str, Any]:
    """What the manifest says of an int8 file that every way may become."""
    task = task_named("brain-lgg")
    task.known_data("test").phantom(folder / "data", 6, 0)
    made = task.networks[0]
    run = Run.create(folder / "run", made.name, {**made.options, "features": 2}, {"kind": "random"})
    save_weights(run, made.build(**run.options))
    options = ExportOptions(int8=True, data=folder / "data", samples=2, scored=0, dice=0.0)
    assert not export(run, made, options, lambda stage: None)
    work = multiply_adds(onnx.load(run.path / "fp32.onnx"), np.zeros((1, *made.input_shape), np.float32))
    assert int8_share(onnx.load(run.path / "int8.onnx"), work) == run.files["int8.onnx"]["share_int8"]
    return dict(run.files["int8.onnx"])


def test_the_manifest_says_where_ranges_are_from(tmp_path: Path) -> None:
    facts = _exported(tmp_path)
    assert facts["ranges"].startswith(f"largest values on 4 samples from {tmp_path / 'data'}, evened by ")
    assert facts["share_int8"] == {"weight_bytes": 1.0, "work": 1.0}


@pytest.mark.parametrize("refusals", [1, 3])
def test_a_file_that_a_judge_refuses_gives_way_to_the_next(
    refusals: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, seen = _exported(tmp_path / "first")["ranges"], list[bytes]()

    def judge(network: Network, known: Calibration, file: Path, budget: Budget) -> None:
        seen.append(file.read_bytes())
        if len(seen) <= refusals:
            raise ExportError("it loses a nodule")

    monkeypatch.setattr("medseg.export.chain.judge_by_engines", judge)
    monkeypatch.setattr("medseg.export.chain.computes_bf16", lambda: False)  # each model is judged once
    second = _exported(tmp_path / "second")["ranges"]
    assert second.rpartition(" ")[2] != first.rpartition(" ")[2] and len(set(seen)) == refusals + 1
