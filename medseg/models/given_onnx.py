"""An ONNX graph that a user gives: read without running code, and changed to the form that medseg's engines need."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import version_converter

from medseg.errors import InputError
from medseg.models.beside_onnx import taken_in
from medseg.models.onnx_session import session_of
from medseg.task import Array

_DOMAINS = ("", "ai.onnx", "com.microsoft")
_SIDE = 64  # pixels; the size of free axes in a trial run
_LEAST_OPSET = 13
_REMEDY = "export it again"


def asked_and_answered(model: onnx.ModelProto, file: Path) -> tuple[list[int | None], list[int | None]]:
    """The shapes of a graph's input and output, found by a trial run; None where a size is free.

    The second shape is empty where the input is not (n, c, h, w) with a fixed c. Raises InputError where the graph
    cannot run, or where its output looks like probabilities instead of logits.
    """
    asked = _sides(model.graph.input[0])
    if len(asked) != 4 or not asked[1]:
        return asked, []
    shape = [asked[0] or 1, asked[1], asked[2] or _SIDE, asked[3] or _SIDE]
    answer = infer_of(model)(np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32))
    if answer.ndim == 4 and answer.min() >= 0 and answer.max() <= 1 and answer.std() > 0:
        raise InputError(
            f"graph {file} answers with numbers from 0 to 1, which look like probabilities; expected logits: export it "
            "without its last sigmoid or softmax"
        )
    sides = [None if free is None else side for side, free in zip(answer.shape, asked, strict=False)]
    return asked, [sides[0], answer.shape[1] if answer.ndim > 1 else None, *sides[2:]]


def read_graph(file: Path) -> onnx.ModelProto:
    """The graph in a file. Raises InputError as `whole_graph` does."""
    return whole_graph(file)[0]


def whole_graph(file: Path) -> tuple[onnx.ModelProto, tuple[Path, ...]]:
    """The graph in a file with all its weights, and the files beside it that hold some of them.

    Its nodes get new names if one has none, or that of another, which ONNX Runtime refuses. Raises InputError where the
    file is not ONNX, one of those files is missing, the graph needs operators of other libraries, or it does not have
    one float32 input and one output.
    """
    try:
        model = onnx.load(file, load_external_data=False)
    except Exception as error:  # protobuf raises many kinds for bytes that are not a graph
        raise InputError(f"graph {file} is not an ONNX file: {_REMEDY}") from error
    parts = taken_in(model, file)
    strange = sorted({node.domain for node in model.graph.node} - set(_DOMAINS))
    if strange:
        raise InputError(
            f"graph {file} needs operators of {strange[0]!r}, which no engine of medseg supports: {_REMEDY}"
        )
    known = {one.name for one in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in known]
    if len(inputs) != 1 or len(model.graph.output) != 1:
        counts = f"{len(inputs)} inputs and {len(model.graph.output)} outputs"
        raise InputError(f"graph {file} has {counts}; expected one of each, pictures and logits: {_REMEDY}")
    kind = inputs[0].type.tensor_type.elem_type
    if kind != onnx.TensorProto.FLOAT:
        name = onnx.TensorProto.DataType.Name(kind).lower()
        raise InputError(f"graph {file} takes {name}; expected float32: {_REMEDY}")
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    names = {node.name for node in model.graph.node}
    if "" in names or len(names) < len(model.graph.node):
        name_nodes(model.graph)
    return model, parts


def infer_of(model: onnx.ModelProto) -> Callable[[Array], Array]:
    """A function that runs the graph in ONNX Runtime without optimizations, from the input's array to the output's.

    Raises InputError where the graph cannot be opened; the function raises it where the graph cannot run.
    """
    try:
        session = session_of(model)
    except Exception as error:
        raise InputError(f"the ONNX graph cannot be opened ({str(error).splitlines()[0][:200]}): {_REMEDY}") from error
    name = session.get_inputs()[0].name

    def infer(batch: Array) -> Array:
        try:
            (found,) = session.run(None, {name: batch})
        except Exception as error:
            reason = str(error).splitlines()[0][:200]
            raise InputError(f"the ONNX graph cannot answer {batch.shape} ({reason}): {_REMEDY}") from error
        return np.asarray(found)

    return infer


def alone(infer: Callable[[Array], Array], model: onnx.ModelProto) -> Callable[[Array], Array]:
    """The function `infer` for any batch size; a graph that was exported for one picture runs once per picture."""
    if _sides(model.graph.input[0])[0] != 1:
        return infer
    return lambda batch: np.concatenate([infer(one[np.newaxis]) for one in batch])


def ours(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """The graph with one tensor `input`, one tensor `output`, a free batch axis, and an opset from 13 to `opset`.

    Its constants are initializers, where an export looks for weights. Raises InputError where its opset cannot be
    converted.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    version = next(one.version for one in made.opset_import if one.domain in ("", "ai.onnx"))
    if not _LEAST_OPSET <= version <= opset:
        try:
            made = version_converter.convert_version(made, opset)
        except Exception as error:
            raise InputError(f"the ONNX graph has opset {version}, which cannot be made {opset}: {_REMEDY}") from error
    for old, new in ((made.graph.input[0].name, "input"), (made.graph.output[0].name, "output")):
        _rename(made.graph, old, new)
    for value in (made.graph.input[0], made.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del made.graph.value_info[:]
    _hold_constants(made.graph)
    return made


def _hold_constants(graph: onnx.GraphProto) -> None:
    """Make initializers of the tensors that nodes called Constant give."""
    for node in [one for one in graph.node if one.op_type == "Constant" and one.attribute[0].name == "value"]:
        graph.initializer.append(node.attribute[0].t)
        graph.initializer[-1].name = node.output[0]
        graph.node.remove(node)


def name_nodes(graph: onnx.GraphProto) -> None:
    """Give every node a new name of its own: manifests name the nodes that stay in float32."""
    for index, node in enumerate(graph.node):
        node.name = f"{node.op_type}_{index}"


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    if old == new:
        return
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == new:
                    names[index] = f"{new} of the graph"
                elif name == old:
                    names[index] = new
    for value in (*graph.input, *graph.output):
        value.name = new if value.name == old else value.name
    for tensor in graph.initializer:
        tensor.name = f"{new} of the graph" if tensor.name == new else tensor.name


def _sides(value: onnx.ValueInfoProto) -> list[int | None]:
    return [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]
