"""Runs exported to ONNX and TensorRT; each file is compared with torch before it is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from medseg.engines.runs import as_runs
from medseg.errors import ExportError
from medseg.export.chain import export_together
from medseg.export.options import ExportOptions
from medseg.run import Run

FP32 = ExportOptions()


def _silent(_run: Run, _stage: str) -> None:
    """Nobody waits."""


def export(
    runs: Sequence[Run | Path | str] | Run | Path | str,
    options: ExportOptions = FP32,
    beside: Sequence[Run | Path | str] = (),
    tell: Callable[[Run, str], None] = _silent,
) -> list[Run]:
    """The runs with their new files: always fp32.pt2 and fp32.onnx, and what the options ask for.

    `beside` are runs of the task's other networks, which are needed to judge a list; `tell` is called when a stage
    starts. Raises ExportError, which names every file that could not be made, after all the others are made.

    >>> import medseg
    >>> (run,) = medseg.export("runs/luna-segment", medseg.ExportOptions(fp16=True, samples=2))
    >>> run.files["fp16.onnx"]["parity"]["dice"] > 0.999
    True
    """
    several = [runs] if isinstance(runs, Run | Path | str) else runs
    held = as_runs(several)
    if failed := export_together(held, options, tell, as_runs(beside)):
        raise ExportError("; ".join(failed.values()))
    return held
