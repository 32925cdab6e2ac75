"""What a run's files are made from and compared with: its torch network, or an ONNX graph that a user imported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import onnx
from torch.export import ExportedProgram

from medseg.export.graph import OPSET, onnx_from_program, save_program, torch_infer
from medseg.export.norms import with_exact_norms
from medseg.models.given_onnx import alone, infer_of, ours, read_graph
from medseg.run import GIVEN_GRAPH, Run
from medseg.task import Array, Network


@dataclass(frozen=True)
class Yardstick:
    """The function that gives the right answers, and the graph from which all files are made."""

    infer: Callable[[Array], Array]
    graph: Callable[[], onnx.ModelProto]
    facts: dict[str, str]  # for the manifest: empty for torch
    exact: Callable[[onnx.ModelProto], onnx.ModelProto] = lambda graph: graph  # the graph -> the one in fp32.onnx
    program: ExportedProgram | None = None  # None for a graph that was imported


def yardstick(run: Run, network: Network, command: str = "") -> Yardstick:
    """A run's yardstick: torch, whose program is then written to fp32.pt2, or the imported graph.

    Raises RunError, InputError or ExportError if neither can be used.
    """
    if GIVEN_GRAPH not in run.files:
        program = save_program(run, network, command)
        graph = partial(onnx_from_program, program, network)
        return Yardstick(torch_infer(program), graph, {}, with_exact_norms, program)
    model = read_graph(run.held(GIVEN_GRAPH))
    return Yardstick(alone(infer_of(model), model), lambda: ours(model, OPSET), {"yardstick": GIVEN_GRAPH})


def save_given(run: Run, network: Network) -> None:
    """Write the program of a run that was just imported (unless it holds a graph): problems are reported now."""
    if GIVEN_GRAPH not in run.files:
        save_program(run, network)
