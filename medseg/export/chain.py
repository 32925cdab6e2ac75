"""The chain of an export: torch -> ONNX FP32 -> FP16 and INT8 -> engines, each file proved before it is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import onnx
import torch

from medseg.engines import open_engine
from medseg.errors import EngineError, ExportError, RunError
from medseg.export import files
from medseg.export.graph import GRAPH, label, onnx_from_program, save_graph, save_program
from medseg.export.parity import Budget, Parity, budget_for, compare, judged, onnx_infer
from medseg.export.plan import Target, build, device, library
from medseg.export.samples import Calibration, calibration
from medseg.export.search import Lowered, half_within, int8_within
from medseg.run import Run
from medseg.task import Array, Network

SAMPLES = {1: 128, 3: 8}  # by the length of the output shape: crops are small and vary much, pictures are large


@dataclass(frozen=True)
class Wanted:
    """What an export should make beyond fp32.pt2 and fp32.onnx, and how it is judged."""

    fp16: bool = False
    int8: bool = False
    data: Path | None = None  # real samples for calibration and parity; made-up ones without
    dice: float | None = None  # instead of each precision's own bound
    samples: int | None = None
    bf16: bool = False
    target: Target | None = None  # also engines: of fp16.onnx where that is wanted, else of fp32.onnx; of int8.onnx
    command: str = ""  # the command line, for the manifest


def export(run: Run, network: Network, wanted: Wanted, tell: Callable[[str], None] = print) -> dict[str, str]:
    """Add the wanted files to the run; those that could not be made, with the reason of each: empty when all is well.

    Raises ExportError where not even fp32.onnx can be made. `tell` hears each stage as it starts.
    """
    _refuse_early(wanted)
    tell("trace")
    program = save_program(run, network, wanted.command)
    count = wanted.samples or SAMPLES[len(network.output_shape)]
    known = calibration(network, _torch_infer(program), wanted.data, count)
    tell(GRAPH)
    started = perf_counter()
    full = onnx_from_program(program, network)
    parity = judged(network, GRAPH, _parity(network, full, known), _budget("fp32", wanted))
    _record(run, network, full, _facts("fp32", parity, known, wanted) | {"seconds": round(perf_counter() - started, 1)})
    failed = {}
    for name, make in _stages(run, network, full, known, wanted):
        tell(name)
        try:
            make()
        except (ExportError, RunError, EngineError) as error:
            failed[name] = str(error)
    return failed


def _refuse_early(wanted: Wanted) -> None:
    """Mistakes are told before the long work, not after it."""
    if wanted.int8 and not wanted.data:
        raise ExportError("int8 needs real samples to take its ranges from; expected --calibration DATA")
    if wanted.target:
        library(wanted.target)
        device(wanted.target)


def _stages(
    run: Run, network: Network, full: onnx.ModelProto, known: Calibration, wanted: Wanted
) -> list[tuple[str, Callable[[], Any]]]:
    """The files after fp32.onnx, in the order of their making, each with what makes it."""
    stages: list[tuple[str, Callable[[], Any]]] = []
    if wanted.fp16:
        stages.append(("fp16.onnx", lambda: _lowered(run, network, full, known, wanted, half_within)))
    stages += _engine(run, network, "fp16" if wanted.fp16 else "fp32", wanted)
    if wanted.bf16:
        stages.append(("bf16.onnx", lambda: _bfloat(run, network, full, known, wanted)))
    if wanted.int8:
        stages.append(("int8.onnx", lambda: _lowered(run, network, full, known, wanted, int8_within)))
        stages += _engine(run, network, "int8", wanted)
    return stages


def _engine(run: Run, network: Network, precision: str, wanted: Wanted) -> list[tuple[str, Callable[[], Any]]]:
    """The stage that builds the engine of this precision, where one is wanted."""
    target = wanted.target
    if target is None:
        return []
    return [(f"{precision}{target.suffix}", lambda: build(run, network, precision, target, wanted.command))]


def _lowered(
    run: Run, network: Network, full: onnx.ModelProto, known: Calibration, wanted: Wanted, lower: Callable[..., Lowered]
) -> None:
    precision = "fp16" if lower is half_within else "int8"
    started = perf_counter()
    found = lower(full, network, known, _budget(precision, wanted))
    facts = {"kept_fp32": dict(found.kept), f"share_{precision}": dict(found.share)}
    facts["seconds"] = round(perf_counter() - started, 1)
    _record(run, network, found.model, _facts(precision, found.parity, known, wanted) | facts)


def _bfloat(run: Run, network: Network, full: onnx.ModelProto, known: Calibration, wanted: Wanted) -> None:
    """The whole graph again, labelled bf16: OpenVINO then computes it in bfloat16, and is judged doing so."""
    started = perf_counter()
    label(run, network, full, "bf16")
    with TemporaryDirectory(prefix="medseg-export-") as folder:
        file = Path(folder) / "bf16.onnx"
        files.write(file, full.SerializeToString())
        engine = open_engine("openvino", file)
        parity = compare(network, known.references, map(engine, known.samples))
        engine.close()
    judged(network, "bf16.onnx", parity, _budget("bf16", wanted))
    facts = {"engine": "openvino", "seconds": round(perf_counter() - started, 1)}
    _record(run, network, full, _facts("bf16", parity, known, wanted) | facts)


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
        "budget": asdict(budget),
        "command": wanted.command,
    }


def _record(run: Run, network: Network, model: onnx.ModelProto, facts: dict[str, Any]) -> None:
    save_graph(run, network, model, f"{facts['precision']}.onnx", facts)
