"""The graph of a run: one torch.export trace, kept as a program (.pt2) and translated to ONNX."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import onnx
import onnxruntime
import torch

from medseg import __version__
from medseg.errors import ExportError, RunError
from medseg.export.bake import baked
from medseg.export.files import add
from medseg.models.checkpoint import built, load_file
from medseg.models.given_onnx import name_nodes
from medseg.models.sized import sized
from medseg.run import GIVEN_PROGRAM, PROGRAM, WEIGHTS, Run
from medseg.task import Array, Network
from medseg.tasks import task_of

# TensorRT 10 and 11, ONNX Runtime and OpenVINO all read opset 20 with IR 10.
OPSET = 20
GRAPH = "fp32.onnx"
AXES = ("batch", "d", "h", "w")
TRACED = 2  # free axes are traced at twice their multiple, because a size of one would be treated as a constant


def trained(run: Run, network: Network) -> torch.nn.Module:
    """The run's network with its weights, baked, in evaluation mode, for pictures of the pipeline's size.

    Raises RunError if there are no weights, InputError if they do not fit.
    """
    if GIVEN_PROGRAM in run.files:
        from medseg.models.given_program import program_module

        return program_module(run.held(GIVEN_PROGRAM))
    path = run.path / WEIGHTS
    if not path.is_file():
        raise RunError(f"run {run.path} has no {WEIGHTS}; make one with `medseg import` or `medseg train`")
    module = built(network.build, run.options)
    load_file(module, run.held(WEIGHTS), network.unused)
    return (sized(baked(module), run.size, network.input_shape[-1]) if run.size else baked(module)).eval()


def save_program(run: Run, network: Network, command: str = "") -> torch.export.ExportedProgram:
    """Trace the run's program, write it to fp32.pt2 and record it. Raises ExportError if it cannot be traced.

    A program that was loaded from a file cannot be translated to ONNX: torch 2.15 loses the multiples of the free axes.
    So an export starts from a new trace, and fp32.pt2 always comes from the same trace as the ONNX files.
    """
    program = trace(trained(run, network), network)
    facts = {"precision": "fp32", "suffix": ".pt2", "torch": torch.__version__, "free_axes": free_axes(network)}
    facts["command"] = command
    content = io.BytesIO()  # torch aborts the whole process if the disk is full
    torch.export.save(program, content)
    add(run, PROGRAM, content.getvalue(), facts)
    return program


def torch_infer(program: torch.export.ExportedProgram) -> Callable[[Array], Array]:
    """A program as a function of numpy arrays: (n, *input_shape) float32 -> logits."""
    module = program.module()

    def infer(batch: Array) -> Array:
        with torch.inference_mode():
            return module(torch.from_numpy(batch)).numpy()

    return infer


def trace(module: torch.nn.Module, network: Network) -> torch.export.ExportedProgram:
    """The module as one graph with free batch axis and the network's free axes. Raises ExportError if torch cannot."""
    example = torch.zeros(example_shape(network))
    try:
        with quiet(), torch.inference_mode():
            return torch.export.export(module, (example,), dynamic_shapes=(_dynamic(network),))
    except Exception as error:
        raise ExportError(f"network {network.name} cannot be traced with free axes: {_first_cause(error)}") from error


def onnx_from_program(program: torch.export.ExportedProgram, network: Network) -> onnx.ModelProto:
    """The program as one simplified ONNX graph `input` -> `output`, with weights inside and named axes.

    Raises ExportError if torch cannot translate it.
    """
    try:
        with quiet():
            exported = torch.onnx.export(
                program, input_names=["input"], output_names=["output"], opset_version=OPSET, dynamo=True, verbose=False
            )
        assert exported is not None
        model = exported.model_proto
    except Exception as error:
        raise ExportError(f"network {network.name} cannot be written as ONNX: {_first_cause(error)}") from error
    _name_axes(model, network)
    name_nodes(model.graph)
    for node in model.graph.node:
        del node.metadata_props[:]
    return model


def save_graph(run: Run, network: Network, model: onnx.ModelProto, name: str, facts: dict[str, Any]) -> None:
    """Check an ONNX model, write it to the run with its metadata inside, and record it with `facts`."""
    label(run, network, model, facts["precision"], facts.get("rest", {}).get("precision", ""))
    versions = {name: module.__version__ for name, module in (("onnx", onnx), ("onnxruntime", onnxruntime))}
    opset = next(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    known = {"suffix": ".onnx", "opset": opset, "free_axes": free_axes(network), "torch": torch.__version__}
    onnx.checker.check_model(model)
    add(run, name, model.SerializeToString(), known | versions | facts)


def label(run: Run, network: Network, model: onnx.ModelProto, precision: str, rest: str = "") -> None:
    """Replace an ONNX model's metadata and producer by ours. `rest`: what an int8 file's floats may be computed in."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, _metadata(run, network, precision) | ({"rest": rest} if rest else {}))
    model.producer_name, model.producer_version = "medseg", __version__


def example_shape(network: Network) -> tuple[int, ...]:
    """A small input shape, batch first, that the network accepts: its free axes are made small."""
    shape = [TRACED, *network.input_shape]
    for axis, multiple in network.free_axes.items():
        shape[axis] = min(shape[axis], TRACED * multiple * (2 if multiple < 16 else 1))
    return tuple(shape)


def free_axes(network: Network) -> dict[str, str]:
    """The names of the free input axes by position, with their multiples, such as "2": "4*h"."""
    named = {str(axis): f"{multiple}*{_axis(network, axis)}" for axis, multiple in network.free_axes.items()}
    return {"0": "batch"} | named


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the exporter's log messages and warnings, which help only its authors."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(before)


def _first_cause(error: BaseException) -> str:
    while error.__cause__:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}"


def _dynamic(network: Network) -> dict[int, Any]:
    axes: dict[int, Any] = {0: torch.export.Dim("batch")}
    for axis, multiple in network.free_axes.items():
        axes[axis] = multiple * torch.export.Dim(_axis(network, axis))
    return axes


def _axis(network: Network, axis: int) -> str:
    return AXES[axis - len(network.input_shape) - 1] if axis else AXES[0]


def _name_axes(model: onnx.ModelProto, network: Network) -> None:
    """Replace the exporter's symbols (s74) by the axes' names. Inner sizes are removed: each engine infers them."""
    names = {}
    for axis, dim in enumerate(model.graph.input[0].type.tensor_type.shape.dim):
        for symbol in re.findall(r"[A-Za-z_]\w*", dim.dim_param):
            names[symbol] = _axis(network, axis)
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"[A-Za-z_]\w*", lambda found: names.get(found[0], found[0]), dim.dim_param)
    del model.graph.value_info[:]


def _metadata(run: Run, network: Network, precision: str) -> dict[str, str]:
    return {
        "task": task_of(network),
        "network": network.name,
        "classes": json.dumps(list(network.classes)),
        "input_range": json.dumps(list(network.input_range)),
        "options": json.dumps(run.options),
        "fitted_size": json.dumps(run.size),
        "output": "logits",
        "precision": precision,
        "medseg": __version__,
    }
