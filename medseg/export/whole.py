"""Whole answers: the chain of a task's runs, in which one exported file after another is tried."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from medseg.engines import open_engine, usual_engine
from medseg.engines.runs import found_in
from medseg.errors import ExportError
from medseg.export.parity import onnx_infer
from medseg.export.precision import rounded
from medseg.run import Run
from medseg.task import Infer, Networks, Pipeline, Step, Tensors, run_step

FULL = "fp32"
Versions = Mapping[str, str]  # network -> which of its files answers


class Chain:
    """A task's runs that answer together, and new files of theirs that nobody has recorded yet.

    A file is tried beside the other networks in its own precision, where they were accepted in it just now or hold a
    file of it, else beside fp32: so the last file of a precision is judged in the chain that will answer.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = {run.network: run for run in runs}
        self._open: dict[tuple[str, str], Infer] = {}  # by network and version
        self._new: dict[tuple[str, str], str] = {}  # network and precision -> the version of a new file
        self._tries = 0

    @contextmanager
    def trying(self, network: str, precision: str, infer: Infer) -> Iterator[Versions]:
        """Within it a new file answers for its network; it does so from then on, unless an ExportError refuses it.

        Each file has a version of its own, so that nothing that an earlier one answered is taken for its answer.
        """
        place = network, precision
        if self._open.get((network, self._new.get(place, ""))) is not infer:  # another judge has not tried it yet
            self._tries += 1
            self._new[place] = f"new {self._tries} {precision}"
            self._open[network, self._new[place]] = infer
        try:
            yield {name: self._version(name, precision) for name in self.runs}
        except ExportError:
            del self._open[network, self._new.pop(place)]
            raise

    @property
    def full(self) -> Versions:
        """Every network in fp32."""
        return dict.fromkeys(self.runs, f"recorded {FULL}")

    def networks(self, versions: Versions) -> Networks:
        """What answers in these versions."""
        return found_in({name: self._infer(name, version) for name, version in versions.items()})

    def _version(self, network: str, precision: str) -> str:
        """What answers for a network: what is new in this precision, else its file of it, else fp32."""
        recorded = precision if f"{precision}.onnx" in self.runs[network].files else FULL
        return self._new.get((network, precision), f"recorded {recorded}")

    def _infer(self, network: str, version: str) -> Infer:
        if (network, version) not in self._open:
            precision = version.split()[-1]
            self._open[network, version] = as_judged(self.runs[network].path / f"{precision}.onnx", precision)
        return self._open[network, version]


def others(versions: Versions, network: str) -> dict[str, str]:
    """The precision of every network but this one."""
    return {name: version.split()[-1] for name, version in versions.items() if name != network}


def as_judged(file: Path, precision: str) -> Infer:
    """An ONNX file as whole answers are judged: float16 rounded after every operation, as on a GPU, else OpenVINO's."""
    return onnx_infer(rounded(onnx.load(file))) if precision == "fp16" else open_engine(usual_engine(file.suffix), file)


@dataclass
class Question:
    """What a pipeline is asked, and what each step made of it so far: none is repeated with the same networks."""

    tensors: Tensors
    asked: dict[str, frozenset[str]] = field(default_factory=dict)  # step -> the networks it asked
    made: dict[tuple[Any, ...], Tensors] = field(default_factory=dict)

    def answered(self, steps: Sequence[Step], networks: Networks, versions: Versions) -> Tensors:
        """Every wire of these steps of the pipeline."""
        known, seen = dict(self.tensors), frozenset[str]()
        for step in steps:
            seen |= self.asked.get(step.name, frozenset())
            if step.name not in self.asked or _key(step, seen, versions) not in self.made:
                inputs = {name: known[name] for name in step.inputs if name in known}
                outputs, self.asked[step.name] = _watched(step, inputs, networks)
                seen |= self.asked[step.name]
                self.made[_key(step, seen, versions)] = outputs
            known |= self.made[_key(step, seen, versions)]
        return known


def leading_to(pipeline: Pipeline, wires: Sequence[str], known: Collection[str]) -> list[Step]:
    """The steps that these wires depend on, where some wires are known already."""
    wanted = set(wires) - set(known)
    steps: list[Step] = []
    for step in reversed(pipeline.steps):
        if wanted & set(step.outputs):
            wanted |= set(step.inputs) - set(known)
            steps.insert(0, step)
    return steps


def _key(step: Step, seen: frozenset[str], versions: Versions) -> tuple[Any, ...]:
    """What a step's outputs depend on: the versions of all networks that were asked up to there."""
    return (step.name, *((name, versions[name]) for name in sorted(seen)))


def _watched(step: Step, inputs: Tensors, networks: Networks) -> tuple[Tensors, frozenset[str]]:
    """What a step makes, and the networks it asked."""
    names: set[str] = set()

    def find(name: str) -> Infer:
        infer = networks(name)
        names.add(name)
        return infer

    return run_step(step, inputs, find), frozenset(names)
