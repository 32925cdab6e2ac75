"""The waterfall: the same samples through torch and every exported file, to see what each file costs and saves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np

from medseg.engines import ENGINES, open_engine, usual_engine
from medseg.errors import EngineError
from medseg.export import files
from medseg.export.parity import compare, marked
from medseg.export.samples import Drawn
from medseg.metrics.overlap import dice
from medseg.run import PROGRAM, Run
from medseg.task import Array, Network

STAGES = (PROGRAM, "fp32.onnx", "fp16.onnx", "bf16.onnx", "int8.onnx")
REPEATS = 3


@dataclass(frozen=True)
class Stage:
    """One file on the same samples as torch. Lesions as in `parity.untouched`."""

    file: str
    engine: str
    dice: float | None = None  # to torch's masks
    truth_dice: float | None = None  # to the truth's masks, over the samples that have one
    flipped: int | None = None
    lost: int | None = None  # torch's lesions that this file does not touch
    gained: int | None = None  # this file's lesions that torch does not touch
    milliseconds: float | None = None  # per sample, the fastest of three
    note: str = ""


def waterfall(run: Run, network: Network, drawn: Drawn) -> list[Stage]:
    """Every stage for which the run has a file, torch first; a file that cannot be opened here has a note instead."""
    names = [name for name in STAGES if name in run.files]
    built = [kind.suffix for kind in ENGINES.values() if kind.builds]
    names += [name for name in run.files if Path(name).suffix in built]
    stages: list[Stage] = []
    references: list[Array] = []
    for name in names:
        engine = usual_engine(Path(name).suffix)
        try:
            opened = open_engine(engine, run.path / name)
        except EngineError as error:
            stages.append(Stage(name, engine, note=str(error)))
            continue
        answers, milliseconds = _timed(opened, drawn.samples)
        opened.close()
        references = references or answers
        stage = _stage(network, Stage(name, engine, milliseconds=round(milliseconds, 2)), references, answers)
        stages.append(replace(stage, truth_dice=_truth_dice(network, answers, drawn.truths)))
    return stages


def write(stages: Sequence[Stage], folder: Path, origin: str) -> list[Path]:
    """The table as waterfall.md and waterfall.json in a folder. Raises ExportError if they cannot be written."""
    texts = {
        "waterfall.md": f"{markdown(stages)}\n\nOn {origin}.\n",
        "waterfall.json": json.dumps({"samples": origin, "stages": [asdict(stage) for stage in stages]}, indent=2),
    }
    for name, text in texts.items():
        files.write(folder / name, text.encode())
    return [folder / name for name in texts]


def markdown(stages: Sequence[Stage]) -> str:
    """The stages as a table, one line each."""
    lines = [
        "| file | engine | Dice to torch | Dice to the truth | flipped | lesions lost | gained | ms a sample |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for stage in stages:
        if stage.note:
            lines.append(f"| {stage.file} | {stage.engine} | {stage.note} | | | | | |")
            continue
        truth = "-" if stage.truth_dice is None else f"{stage.truth_dice:.5f}"
        cells = [f"{stage.dice:.5f}", truth, str(stage.flipped), str(stage.lost), str(stage.gained)]
        lines.append(f"| {stage.file} | {stage.engine} | {' | '.join(cells)} | {stage.milliseconds:.1f} |")
    return "\n".join(lines)


def _stage(network: Network, stage: Stage, references: list[Array], answers: list[Array]) -> Stage:
    parity = compare(network, references, answers)
    rounded = round(parity.dice, 6)
    return replace(stage, dice=rounded, flipped=parity.flipped, lost=parity.lost, gained=parity.gained)


def _truth_dice(network: Network, answers: Sequence[Array], truths: Sequence[Array | None]) -> float | None:
    """The Dice of all answers together against the truth; None if no sample has one."""
    pairs = [(logits, truth) for logits, truth in zip(answers, truths, strict=True) if truth is not None]
    if not pairs:
        return None
    masks = np.concatenate([marked(network, logits).ravel() for logits, _ in pairs])
    return round(dice(masks, np.concatenate([truth.ravel() for _, truth in pairs])), 6)


def _timed(infer: Callable[[Array], Array], samples: Sequence[Array]) -> tuple[list[Array], float]:
    """The answers, and the milliseconds of one sample: the fastest of three calls, after the engine is warm."""
    answers = [infer(sample) for sample in samples]
    times = []
    for _ in range(REPEATS):
        started = perf_counter()
        infer(samples[0])
        times.append(perf_counter() - started)
    return answers, 1e3 * min(times)
