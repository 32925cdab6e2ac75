"""The waterfall: the same samples through torch and every exported file, to see what each step costs and saves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import cc3d
import numpy as np

from medseg.engines import open_engine
from medseg.errors import EngineError
from medseg.export.graph import PROGRAM
from medseg.export.parity import compare, is_classifier, probabilities
from medseg.files import whole_file
from medseg.run import Run
from medseg.task import Array, Network

STAGES = (PROGRAM, "fp32.onnx", "fp16.onnx", "int8.onnx")
ENGINE_OF = {".pt2": "torch", ".onnx": "openvino", ".plan": "tensorrt", ".rtx": "tensorrt-rtx"}
REPEATS = 3


@dataclass(frozen=True)
class Stage:
    """One file on the same samples as torch. Lesions are the masks' connected pieces, or a classifier's findings."""

    file: str
    engine: str
    dice: float | None = None  # to torch's masks
    flipped: int | None = None
    lost: int | None = None  # torch's lesions that this file does not touch
    gained: int | None = None  # this file's lesions that torch does not touch
    milliseconds: float | None = None  # a sample, the fastest of three
    note: str = ""


def waterfall(run: Run, network: Network, samples: Sequence[Array]) -> list[Stage]:
    """Every stage the run has files for, torch first; an engine that cannot be opened here has a note instead."""
    names = [name for name in STAGES if name in run.files]
    names += [name for name in run.files if Path(name).suffix in (".plan", ".rtx")]
    stages: list[Stage] = []
    references: list[Array] = []
    for name in names:
        engine = ENGINE_OF[Path(name).suffix]
        try:
            opened = open_engine(engine, run.path / name)
        except EngineError as error:
            stages.append(Stage(name, engine, note=str(error)))
            continue
        answers, milliseconds = _timed(opened, samples)
        opened.close()
        references = references or answers
        stages.append(_stage(network, name, engine, references, answers, milliseconds))
    return stages


def write(stages: Sequence[Stage], folder: Path, origin: str) -> list[Path]:
    """The table as waterfall.md and waterfall.json in a folder."""
    texts = {
        "waterfall.md": f"{markdown(stages)}\n\nOn {origin}.\n",
        "waterfall.json": json.dumps({"samples": origin, "stages": [asdict(stage) for stage in stages]}, indent=2),
    }
    for name, text in texts.items():
        with whole_file(folder / name) as path:
            path.write_text(text)
    return [folder / name for name in texts]


def markdown(stages: Sequence[Stage]) -> str:
    """The stages as a table, one line each."""
    lines = [
        "| file | engine | Dice to torch | flipped | lesions lost | gained | ms a sample |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for stage in stages:
        if stage.note:
            lines.append(f"| {stage.file} | {stage.engine} | {stage.note} | | | | |")
            continue
        cells = [f"{stage.dice:.5f}", str(stage.flipped), str(stage.lost), str(stage.gained)]
        lines.append(f"| {stage.file} | {stage.engine} | {' | '.join(cells)} | {stage.milliseconds:.1f} |")
    return "\n".join(lines)


def _stage(network: Network, name: str, engine: str, references: list[Array], answers: list[Array], ms: float) -> Stage:
    parity = compare(network, references, answers)
    masks = [[probabilities(network, logits) > 0.5 for logits in many] for many in (references, answers)]
    pairs = list(zip(*masks, strict=True))
    lost = sum(_untouched(network, mask, other) for mask, other in pairs)
    gained = sum(_untouched(network, other, mask) for mask, other in pairs)
    return Stage(name, engine, round(parity.dice, 6), parity.flipped, lost, gained, round(ms, 2))


def _untouched(network: Network, mask: Array, other: Array) -> int:
    """The lesions of `mask` (n, classes, ...) that `other` has no voxel of."""
    if is_classifier(network):
        return int((mask & ~other).sum())
    count = 0
    for plane, met in zip(mask.reshape(-1, *mask.shape[2:]), other.reshape(-1, *mask.shape[2:]), strict=True):
        pieces = cc3d.connected_components(plane)
        count += len(set(np.unique(pieces)) - set(np.unique(pieces[met])) - {0})
    return count


def _timed(infer: Callable[[Array], Array], samples: Sequence[Array]) -> tuple[list[Array], float]:
    """The answers, and the milliseconds of one sample: the fastest of three, after the answers warmed the engine up."""
    answers = [infer(sample) for sample in samples]
    times = []
    for _ in range(REPEATS):
        started = perf_counter()
        infer(samples[0])
        times.append(perf_counter() - started)
    return answers, 1e3 * min(times)
