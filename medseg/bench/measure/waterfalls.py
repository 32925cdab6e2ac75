"""Waterfalls: each run's files on the same inputs beside torch, as the export has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from medseg.bench.record import StageRecord, WaterfallRecord
from medseg.run import Run
from medseg.task import Task

INPUTS = {1: 16, 3: 4}  # of a network by the length of its output's shape: crops are many, pictures few


def waterfalls(task: Task, runs: Sequence[Run], data: Path | None) -> Iterator[WaterfallRecord]:
    """Each run's waterfall: every file compared with torch on the same inputs, in Dice and milliseconds."""
    from medseg.export.samples import drawn
    from medseg.export.waterfall import waterfall

    for run in runs:
        network = task.network(run.network)
        count = INPUTS[len(network.output_shape)]
        samples = drawn(network, data if data and data.is_dir() else None, count)
        stages = [cast(StageRecord, asdict(stage)) for stage in waterfall(run, network, samples)]
        yield {"network": network.name, "samples": samples.origin, "stages": stages}
