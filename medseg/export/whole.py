"""The whole chain: a task's runs answer together, and one exported file after another is tried in it."""

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
Versions = Mapping[str, str]  # network -> which of its files is used


class Chain:
    """A task's runs that answer together, and their new files that are not recorded yet.

    A file is tried together with the other networks in the same precision, if they have a file of it, recorded or just
    accepted; otherwise together with their fp32 files. So the last file of a precision is judged in the final chain.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self.runs = {run.network: run for run in runs}
        self._open: dict[tuple[str, str], Infer] = {}  # by network and version
        self._new: dict[tuple[str, str], str] = {}  # network and precision -> the version of a new file
        self._tries = 0

    @contextmanager
    def trying(self, network: str, precision: str, infer: Infer) -> Iterator[Versions]:
        """Within the block a new file is used for its network, and afterwards too unless an ExportError refuses it.

        Each file has a version of its own, so that the kept answers of an earlier file are not used for it.
        """
        place = network, precision
        if self._open.get((network, self._new.get(place, ""))) is not infer:  # another judge has not tried it yet
            self._open.pop((network, self._new.get(place, "")), None)
            self._tries += 1
            self._new[place] = f"new {self._tries} {precision}"
            self._open[network, self._new[place]] = infer
        try:
            yield {name: self._version(name, precision) for name in self.runs}
        except ExportError:
            del self._open[network, self._new.pop(place)]
            raise

    @property
    def in_use(self) -> set[str]:
        """The versions that may be asked again: all but those of files that were refused or replaced."""
        return {version for _, version in self._open}

    @property
    def full(self) -> Versions:
        """Every network in fp32."""
        return dict.fromkeys(self.runs, f"recorded {FULL}")

    def networks(self, versions: Versions) -> Networks:
        """The networks in these versions."""
        return found_in({name: self._infer(name, version) for name, version in versions.items()})

    def _version(self, network: str, precision: str) -> str:
        """The version of a network: the new file in this precision, else the recorded one, else fp32."""
        recorded = precision if f"{precision}.onnx" in self.runs[network].files else FULL
        return self._new.get((network, precision), f"recorded {recorded}")

    def _infer(self, network: str, version: str) -> Infer:
        if (network, version) not in self._open:
            precision = version.split()[-1]
            self._open[network, version] = as_judged(self.runs[network].path / f"{precision}.onnx", precision)
        return self._open[network, version]


def others(versions: Versions, network: str) -> dict[str, str]:
    """The precision of every other network."""
    return {name: version.split()[-1] for name, version in versions.items() if name != network}


def as_judged(file: Path, precision: str) -> Infer:
    """An ONNX file as the chain runs it: float16 rounded after every operation, as on a GPU; else in OpenVINO."""
    return onnx_infer(rounded(onnx.load(file))) if precision == "fp16" else open_engine(usual_engine(file.suffix), file)


@dataclass
class Question:
    """A pipeline's input, and the outputs of its steps so far: no step is repeated with the same networks."""

    tensors: Tensors
    asked: dict[str, frozenset[str]] = field(default_factory=dict)  # step -> the networks it called
    made: dict[tuple[Any, ...], Tensors] = field(default_factory=dict)

    def answered(self, steps: Sequence[Step], networks: Networks, versions: Versions) -> Tensors:
        """All tensors that these steps of the pipeline make, and the inputs."""
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

    def keep(self, versions: Collection[str]) -> None:
        """Forget what networks in other versions than these made."""
        self.made = {key: made for key, made in self.made.items() if all(used in versions for _, used in key[1:])}


def leading_to(pipeline: Pipeline, wires: Sequence[str], known: Collection[str]) -> list[Step]:
    """The steps on which these tensors depend, if some tensors are known already."""
    wanted = set(wires) - set(known)
    steps: list[Step] = []
    for step in reversed(pipeline.steps):
        if wanted & set(step.outputs):
            wanted |= set(step.inputs) - set(known)
            steps.insert(0, step)
    return steps


def _key(step: Step, seen: frozenset[str], versions: Versions) -> tuple[Any, ...]:
    """What a step's outputs depend on: the versions of all networks that were called so far."""
    return (step.name, *((name, versions[name]) for name in sorted(seen)))


def _watched(step: Step, inputs: Tensors, networks: Networks) -> tuple[Tensors, frozenset[str]]:
    """A step's outputs, and the networks that it called."""
    names: set[str] = set()

    def find(name: str) -> Infer:
        infer = networks(name)
        names.add(name)
        return infer

    return run_step(step, inputs, find), frozenset(names)
