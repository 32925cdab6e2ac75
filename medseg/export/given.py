"""What a run's files are made of and judged by: its torch network, or a graph as somebody brought it along."""

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
    """What answers are right, and the graph that all files are made of."""

    infer: Callable[[Array], Array]
    graph: Callable[[], onnx.ModelProto]
    facts: dict[str, str]  # for the manifest: nothing where it is torch
    exact: Callable[[onnx.ModelProto], onnx.ModelProto] = lambda graph: graph  # the graph as fp32.onnx holds it
    program: ExportedProgram | None = None  # None where a graph was brought along


def yardstick(run: Run, network: Network, command: str = "") -> Yardstick:
    """A run's yardstick: torch, whose program is written to fp32.pt2, or the graph that was brought along.

    Raises RunError, InputError or ExportError where there is none.
    """
    if GIVEN_GRAPH not in run.files:
        program = save_program(run, network, command)
        graph = partial(onnx_from_program, program, network)
        return Yardstick(torch_infer(program), graph, {}, with_exact_norms, program)
    model = read_graph(run.held(GIVEN_GRAPH))
    return Yardstick(alone(infer_of(model), model), lambda: ours(model, OPSET), {"yardstick": GIVEN_GRAPH})


def save_given(run: Run, network: Network) -> None:
    """Write the program of a run that was just imported, where it can have one, so that what cannot be is told now."""
    if GIVEN_GRAPH not in run.files:
        save_program(run, network)
