"""What an export is asked for, and what of it is refused before the long work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.engines import library
from medseg.errors import ExportError
from medseg.export.distill import Distill
from medseg.export.plan import GpuBuild, device
from medseg.run import GIVEN_GRAPH, Run

AGREEMENT, SCORE = "agreement", "score"


@dataclass(frozen=True)
class ExportOptions:
    """What an export should make beyond fp32.pt2 and fp32.onnx, and how it is judged."""

    fp16: bool = False
    int8: bool = False
    data: Path | None = None  # real samples for calibration and parity; made-up samples if None
    dice: float | None = None  # instead of each precision's own bound
    samples: int | None = None
    bf16: bool = False
    # Also build engines: from fp16.onnx if fp16 is wanted, else from fp32.onnx; and from int8.onnx.
    gpu_build: GpuBuild | None = None
    command: str = ""  # the command line, for the manifest
    lost: int = 0  # how many of the items that fp32 lists the whole chain may lose with a file
    budget: str = AGREEMENT  # what decides whether a lower precision is recorded: AGREEMENT with torch, or SCORE
    scored: int | None = None  # on how many patients of `data` files and fp32 are scored; None: the usual number
    distill: Distill | None = None  # first fit a copy of the network to int8's rounding; int8.onnx is made from it


def refuse_early(options: ExportOptions, runs: Sequence[Run]) -> None:
    """Raise ExportError or EngineError for options that are wrong, or wrong for a run, before the long work."""
    if options.budget not in (AGREEMENT, SCORE):
        raise ExportError(f"budget {options.budget!r} is unknown; expected {AGREEMENT} or {SCORE}")
    if options.budget == SCORE and (not options.data or options.scored == 0):
        raise ExportError("budget 'score' needs patients with a known truth; expected --calibration DATA and --scored")
    if options.distill and not options.int8:
        raise ExportError("only int8.onnx can be distilled; expected --int8 with --distill")
    for graph in [run for run in runs if options.distill and GIVEN_GRAPH in run.files]:
        raise ExportError(
            f"int8 of {graph.network} cannot be distilled: run {graph.path} holds an ONNX graph, which PyTorch cannot "
            "fit; expected a run of weights or of a .pt2: export without --distill"
        )
    if options.int8 and not options.data:
        raise ExportError("int8 needs real samples for its ranges; expected --calibration DATA")
    if options.gpu_build:
        library(options.gpu_build.engine)
        device(options.gpu_build)
