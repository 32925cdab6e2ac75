"""External data: weights of an ONNX graph in files beside it, as `torch.onnx.export` writes them by default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from medseg.errors import InputError

_MOST = (1 << 31) - 1  # bytes; protobuf's own limit for one file with a whole graph


def taken_in(model: onnx.ModelProto, file: Path) -> tuple[Path, ...]:
    """Read the weights in files beside the graph's file into the model. Returns these files; empty if there are none.

    Raises InputError where such a file is missing, too short, or not in the graph's folder, and where the weights are
    too large for one file.
    """
    outside = [tensor for tensor in _tensors(model.graph) if uses_external_data(tensor)]
    names = sorted({_location(tensor) for tensor in outside})
    _refuse_absent(file, names)
    if names and sum((file.parent / name).stat().st_size for name in names) > _MOST:
        raise InputError(
            f"graph {file} has more than 2 GiB of weights beside it; expected less: export a smaller network"
        )
    for tensor in outside:
        try:
            load_external_data_for_tensor(tensor, str(file.parent))
        except Exception as error:  # onnx raises several kinds: for links, offsets after the end, wrong numbers
            raise InputError(
                f"graph {file} does not find the weights {tensor.name[:80]!r} in {_location(tensor)[:80]}; expected "
                "the file that was written with it: copy both again, or export it again"
            ) from error
    return tuple(file.parent / name for name in names)


def _refuse_absent(file: Path, names: list[str]) -> None:
    for name in names:
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(
                f"graph {file} has weights in {name[:80]!r}, not beside it; expected a file of its folder: "
                "export it again"
            )
        if not (file.parent / name).is_file():
            raise InputError(
                f"graph {file} has its weights in {name[:80]}, which is not beside it: put it there, "
                "or save the graph as one file with torch.onnx.export(..., external_data=False)"
            )


def _location(tensor: onnx.TensorProto) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """All constant tensors of a graph: its weights, those of its nodes, and those of the nodes' inner graphs."""
    yield from graph.initializer
    for one in graph.sparse_initializer:
        yield from (one.values, one.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
