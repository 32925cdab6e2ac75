"""ONNX graphs with weights in files beside them: taken in whole, or refused in a sentence that names the file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from medseg.cli.import_ import import_
from medseg.errors import InputError
from medseg.models.given_onnx import infer_of, read_graph, whole_graph
from medseg.run import Run

BATCH = np.random.default_rng(1).normal(size=(1, 3, 64, 64)).astype(np.float32)


def graph_of(constant: bool = False) -> onnx.ModelProto:
    """A convolution (n, 3, h, w) -> (n, 2, h, w), whose weights are an initializer or a node's constant."""
    weights = numpy_helper.from_array(np.random.default_rng(0).normal(size=(2, 3, 1, 1)).astype(np.float32), "weights")
    nodes = [helper.make_node("Constant", [], ["weights"], value=weights)] if constant else []
    nodes.append(helper.make_node("Conv", ["picture", "weights"], ["logits"]))
    shapes = {"picture": ["n", 3, "h", "w"], "logits": ["n", 2, "h", "w"]}
    wires = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(nodes, "made", wires[:1], wires[1:], [] if constant else [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def saved_apart(folder: Path, constant: bool = False) -> Path:
    """The graph in a file, its weights in another one."""
    file = folder / "network.onnx"
    how = {"location": "network.onnx.data", "size_threshold": 0, "convert_attribute": True}
    onnx.save_model(graph_of(constant), file, save_as_external_data=True, **how)
    assert (folder / "network.onnx.data").stat().st_size >= 24
    return file


@pytest.mark.parametrize("constant", [False, True])
def test_weights_beside_a_graph_are_taken_in(constant: bool, tmp_path: Path) -> None:
    model, parts = whole_graph(saved_apart(tmp_path, constant))
    assert parts == (tmp_path / "network.onnx.data",)
    assert np.array_equal(infer_of(model)(BATCH), infer_of(graph_of())(BATCH))


def test_a_run_holds_the_whole_graph(tmp_path: Path) -> None:
    file = saved_apart(tmp_path)
    import_("picture", file, out=tmp_path / "run", classes="a,b")
    for path in (file, tmp_path / "network.onnx.data"):
        path.unlink()
    run = Run(tmp_path / "run")
    model, parts = whole_graph(run.path / "given.onnx")
    assert parts == () and np.array_equal(infer_of(model)(BATCH), infer_of(graph_of())(BATCH))
    assert '"network.onnx.data"' in (run.path / "segmentation.json").read_text(), "both files are its source"


def _removed(data: Path) -> None:
    data.unlink()


def _shortened(data: Path) -> None:
    data.write_bytes(data.read_bytes()[:-1])


def _linked(data: Path) -> None:
    data.rename(data.with_name("elsewhere"))
    data.symlink_to(data.with_name("elsewhere"))


def _located(at: str) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        file = data.with_suffix("")
        model = onnx.load(file, load_external_data=False)
        for entry in model.graph.initializer[0].external_data:
            entry.value = at if entry.key == "location" else entry.value
        onnx.save_model(model, file)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_removed, r"has its weights in network\.onnx\.data, which is not beside it: put it there"),
        (_shortened, r"does not find the weights 'weights' in network\.onnx\.data"),
        (_linked, r"does not find the weights"),
        (_located("../network.onnx.data"), r"not beside it; expected a file of its folder"),
        (_located("/etc/passwd"), r"not beside it; expected a file of its folder"),
        (_located(""), r"not beside it; expected a file of its folder"),
    ],
)
def test_what_is_not_beside_it_is_one_sentence(change: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    file = saved_apart(tmp_path)
    change(tmp_path / "network.onnx.data")
    with pytest.raises(InputError, match=words) as caught:
        read_graph(file)
    assert "\n" not in str(caught.value)
