"""The chain of an export: torch -> ONNX FP32 -> FP16 and INT8 -> engines, each file proved before it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch

from medseg.errors import ExportError
from medseg.export.graph import GRAPH, onnx_from_program, save_graph, save_program
from medseg.export.parity import Budget, Parity, budget_for, compare, judged, onnx_infer
from medseg.export.plan import Target, build, library
from medseg.export.samples import Calibration, calibration
from medseg.export.search import half_within, int8_within
from medseg.run import Run
from medseg.task import Array, Network

SAMPLES = {1: 32, 3: 8}  # calibration samples by the length of the output shape: crops are many, pictures few


@dataclass(frozen=True)
class Wanted:
    """What an export should make beyond fp32.pt2 and fp32.onnx, and how it is judged."""

    fp16: bool = False
    int8: bool = False
    data: Path | None = None  # real samples for calibration and parity; made-up ones without
    dice: float | None = None  # instead of each precision's own bound
    samples: int | None = None
    target: Target | None = None  # also an engine, of fp16.onnx where that is wanted, else of fp32.onnx
    command: str = ""  # the command line, for the manifest


def export(run: Run, network: Network, wanted: Wanted, tell: Callable[[str], None] = print) -> None:
    """Add the wanted files to the run. Raises ExportError where one cannot be made or misses its bound.

    Files made before the one that fails stay recorded. `tell` hears each stage as it starts.
    """
    if wanted.int8 and not wanted.data:
        raise ExportError("int8 needs real samples to take its ranges from; expected --calibration DATA")
    if wanted.target:
        library(wanted.target)  # a missing package is told before the long work, not after it
    tell("trace")
    program = save_program(run, network)
    count = wanted.samples or SAMPLES[len(network.output_shape)]
    known = calibration(network, _torch_infer(program), wanted.data, count)
    tell("fp32.onnx")
    full = onnx_from_program(program, network)
    parity = judged(network, GRAPH, _parity(network, full, known), _budget("fp32", wanted))
    _record(run, network, full, _facts("fp32", parity, known, wanted))
    for precision, lower in (("fp16", half_within), ("int8", int8_within)):
        if getattr(wanted, precision):
            tell(f"{precision}.onnx")
            found = lower(full, network, known, _budget(precision, wanted))
            facts = {"kept_fp32": dict(found.kept), f"share_{precision}": dict(found.share)}
            _record(run, network, found.model, _facts(precision, found.parity, known, wanted) | facts)
    if wanted.target:
        precision = "fp16" if wanted.fp16 else "fp32"
        tell(f"{wanted.target.engine} {wanted.target.gpu} {precision}")
        build(run, network, precision, wanted.target)


def _torch_infer(program: torch.export.ExportedProgram) -> Callable[[Array], Array]:
    module = program.module()

    def infer(batch: Array) -> Array:
        with torch.inference_mode():
            return module(torch.from_numpy(batch)).numpy()

    return infer


def _parity(network: Network, model: onnx.ModelProto, known: Calibration) -> Parity:
    infer = onnx_infer(model)
    return compare(network, known.references, (infer(sample) for sample in known.samples))


def _budget(precision: str, wanted: Wanted) -> Budget:
    return budget_for(precision, None if precision == "fp32" else wanted.dice)


def _facts(precision: str, parity: Parity, known: Calibration, wanted: Wanted) -> dict[str, Any]:
    budget = _budget(precision, wanted)
    return {
        "precision": precision,
        "parity": parity.facts() | {"calibration": known.origin},
        "budget": {"dice": budget.dice, "probability_error": budget.probability_error},
        "command": wanted.command,
    }


def _record(run: Run, network: Network, model: onnx.ModelProto, facts: dict[str, Any]) -> None:
    save_graph(run, network, model, f"{facts['precision']}.onnx", facts)
