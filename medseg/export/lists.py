"""Lists: what a reader would be shown by the whole chain with an exported file in it, beside what fp32 shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from medseg.engines import open_engine, usual_engine
from medseg.engines.runs import found_in
from medseg.errors import ExportError
from medseg.export.parity import onnx_infer
from medseg.export.precision import rounded
from medseg.run import Run
from medseg.scratch import Scratch
from medseg.task import Array, Infer, Listing, Networks, Pipeline, Step, Task, Tensors, run_step
from medseg.tasks import task_named
from medseg.tasks.plugins import owner

SCANS = 4  # at most, spread evenly over the data's patients: each costs a minute or more for every file that is judged
FULL = "fp32"


@dataclass(frozen=True)
class Changes:
    """How a list differs from fp32's. Listed is what has the threshold's probability; the same is what lies near."""

    listed: int  # by fp32
    lost: int  # of those, the ones that are listed no more
    gained: int
    probability_change: float  # the largest of what either lists; all of its probability for what is found no more

    def __add__(self, other: Changes) -> Changes:
        counts = (self.listed + other.listed, self.lost + other.lost, self.gained + other.gained)
        return Changes(*counts, max(self.probability_change, other.probability_change))


NONE = Changes(0, 0, 0, 0.0)


def changes(expected: Array, found: Array, threshold: float, near_mm: float) -> Changes:
    """The changes of a list (m, 4) from fp32's (n, 4): x, y, z in mm and probability."""
    expected, found = _shown(expected, found, threshold, near_mm), _shown(found, expected, threshold, near_mm)
    before, after = expected[:, 3] >= threshold, found[:, 3] >= threshold
    ours, theirs = _pairs(expected, found, before[:, None] != after[None, :], near_mm)
    kept = int((before[ours] & after[theirs]).sum())
    gone, new = np.delete(expected[:, 3], ours), np.delete(found[:, 3], theirs)
    moved = np.abs(expected[ours, 3] - found[theirs, 3])[before[ours] | after[theirs]]
    change = max(values.max(initial=0.0) for values in (moved, gone[gone >= threshold], new[new >= threshold]))
    return Changes(int(before.sum()), int(before.sum()) - kept, int(after.sum()) - kept, round(float(change), 6))


def _shown(these: Array, those: Array, threshold: float, near_mm: float) -> Array:
    """The items that are listed, or near to one of the others that is: thousands may be neither."""
    listed = those[those[:, 3] >= threshold]
    far = cKDTree(listed[:, :3]).query(these[:, :3])[0] if len(listed) else np.full(len(these), np.inf)
    return these[(these[:, 3] >= threshold) | (far < near_mm)]


def _pairs(these: Array, those: Array, unlike: Array, near_mm: float) -> tuple[Array, Array]:
    """Which items are the same: each with one other at most, no further than near_mm, the nearest together.

    Those that are `unlike` (n, m), only one of them listed, come together where nothing else is near.
    """
    far = np.linalg.norm(these[:, None, :3] - those[None, :, :3], axis=2)
    first, second = linear_sum_assignment(np.where(far < near_mm, far + near_mm * unlike, 3 * near_mm))
    near = far[first, second] < near_mm
    return first[near], second[near]


@dataclass
class _Scan:
    """One scan's question, and what every step made of it so far: a step is not repeated with the same networks."""

    tensors: Tensors
    asked: dict[str, frozenset[str]] = field(default_factory=dict)  # step -> the networks it asked
    made: dict[tuple[Any, ...], Tensors] = field(default_factory=dict)

    def answered(self, steps: Sequence[Step], networks: Networks, versions: Mapping[str, str]) -> Tensors:
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


def _leading_to(pipeline: Pipeline, wires: Sequence[str], known: Collection[str]) -> list[Step]:
    """The steps that these wires depend on, where some wires are known already."""
    wanted = set(wires) - set(known)
    steps: list[Step] = []
    for step in reversed(pipeline.steps):
        if wanted & set(step.outputs):
            wanted |= set(step.inputs) - set(known)
            steps.insert(0, step)
    return steps


def _key(step: Step, seen: frozenset[str], versions: Mapping[str, str]) -> tuple[Any, ...]:
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


class Lists:
    """The chain of a task's runs on its calibration data, in which one file after another is tried.

    A file is tried beside the other networks in its own precision, where they were accepted in it just now or hold a
    file of it, else beside fp32: so the last file of a precision is judged in the chain that will answer.
    """

    def __init__(self, task: Task, listing: Listing, runs: Sequence[Run], data: Path | None) -> None:
        self._task, self._listing, self._data = task, listing, data
        self._runs = {run.network: run for run in runs}
        self._open: dict[tuple[str, str], Infer] = {}  # by network and version

    def judged(self, network: str, precision: str, infer: Infer, most_lost: int) -> dict[str, Any]:
        """How the list changes with this file of the network. Raises ExportError where it loses more than it may."""
        if self._scans is None:
            return {"judged": False, "because": f"without the other networks {network} gives no probabilities"}
        self._open[network, f"new {precision}"] = infer
        chain = {name: self._version(name, precision) for name in self._runs}
        full = dict.fromkeys(self._runs, f"recorded {FULL}")
        pairs = zip(self._lists(full), self._lists(chain), strict=True)
        total = sum((self._changes(expected, found) for expected, found in pairs), NONE)
        beside = {name: version.split()[-1] for name, version in chain.items() if name != network}
        facts = {"judged": True} | asdict(total) | {"scans": self._origin, "beside": beside}
        if total.lost > most_lost:
            del self._open[network, f"new {precision}"]
            raise ExportError(_refusal(f"{precision}.onnx of {network}", facts, most_lost))
        return facts

    def _version(self, network: str, precision: str) -> str:
        """What answers for a network: what is new in this precision, else its file of it, else fp32."""
        if (network, f"new {precision}") in self._open:
            return f"new {precision}"
        return f"recorded {precision if f'{precision}.onnx' in self._runs[network].files else FULL}"

    def _infer(self, network: str, version: str) -> Infer:
        if (network, version) not in self._open:
            precision = version.split()[-1]
            self._open[network, version] = as_judged(self._runs[network].path / f"{precision}.onnx", precision)
        return self._open[network, version]

    def _lists(self, versions: Mapping[str, str]) -> list[Mapping[str, Array]]:
        pipeline = self._task.pipeline  # whole: `question` stands in for absent networks
        chain = {name: self._infer(name, version) for name, version in versions.items()}
        networks = pipeline.sound(found_in(chain))
        lists = []
        for scan in self._scans or ():
            steps = _leading_to(pipeline, self._listing.wires, scan.tensors)
            lists.append(self._listing.items(scan.answered(steps, networks, versions)))
        return lists

    def _changes(self, expected: Mapping[str, Array], found: Mapping[str, Array]) -> Changes:
        near, threshold = self._listing.near_mm, self._listing.threshold
        return sum((changes(expected[name], found[name], threshold, near) for name in expected), NONE)

    @cached_property
    def _scans(self) -> list[_Scan] | None:
        """The scans to judge on; None where these networks alone list nothing."""
        with Scratch("export") as made_up:
            layout = self._task.known_data("judge a list")
            if self._data is None:
                layout.phantom(Path(made_up), 1, 0)
            data = self._data or Path(made_up)
            patients = list(layout.patients(data))
            places = np.linspace(0, len(patients) - 1, min(SCANS, len(patients))).astype(int)
            asked = (self._listing.question(data, patients[place], self._runs) for place in places)
            scans = [None if question is None else _Scan(question) for question in asked]
        found = [scan for scan in scans if scan is not None]
        return found or None

    @property
    def _origin(self) -> str:
        count = len(self._scans or ())
        return f"{count} {'made-up scan' if self._data is None else f'of the scans in {self._data}'}"


def _refusal(what: str, facts: Mapping[str, Any], most_lost: int) -> str:
    beside = "".join(f" beside {name} in {version}" for name, version in facts["beside"].items())
    return (
        f"{what} is not recorded: it loses {facts['lost']} of the {facts['listed']} that fp32 lists, at most "
        f"{most_lost} may be lost (it gains {facts['gained']}; a probability changes by "
        f"{facts['probability_change']:.3f}), on {facts['scans']}{beside}: use another precision or --lost"
    )


def as_judged(file: Path, precision: str) -> Infer:
    """An ONNX file as lists are judged: float16 rounded after every operation, as on a GPU, all else on OpenVINO."""
    return onnx_infer(rounded(onnx.load(file))) if precision == "fp16" else open_engine(usual_engine(file.suffix), file)


def chains_of(runs: Sequence[Run], beside: Sequence[Run], data: Path | None) -> dict[Path, Lists | None]:
    """Each run's chain by its path, made of the first run of each of its task's other networks; None without a list."""
    made: dict[frozenset[Path], Lists | None] = {}
    chains = {}
    for run in runs:
        task = owner(run.network)
        others = {other.network: other for other in reversed([*runs, *beside]) if owner(other.network) == task}
        members = (others | {run.network: run}).values()
        key = frozenset(member.path for member in members)
        if key not in made:
            made[key] = _lists(task, list(members), data)
        chains[run.path] = made[key]
    return chains


def _lists(task: str, runs: Sequence[Run], data: Path | None) -> Lists | None:
    found = task_named(task) if task else None
    return Lists(found, found.listing, runs, data) if found and found.listing else None
