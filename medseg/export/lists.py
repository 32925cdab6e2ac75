"""Lists: the list that the whole chain gives with an exported file in it, compared with fp32's list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from medseg.errors import ExportError
from medseg.export.whole import Chain, Question, Versions, leading_to, others
from medseg.scratch import Scratch
from medseg.task import Array, Infer, Listing, Task

SCANS = 4  # at most, spread evenly over the data's patients: each takes a minute or more for every file that is judged


@dataclass(frozen=True)
class Changes:
    """How a list differs from fp32's. Items are listed from the threshold's probability on; near items are the same."""

    listed: int  # by fp32
    lost: int  # of those, the ones that are no longer listed
    gained: int
    probability_change: float  # the largest of listed items; the whole probability if one list lacks the item

    def __add__(self, other: Changes) -> Changes:
        counts = (self.listed + other.listed, self.lost + other.lost, self.gained + other.gained)
        return Changes(*counts, max(self.probability_change, other.probability_change))


NONE = Changes(0, 0, 0, 0.0)


def changes(expected: Array, found: Array, threshold: float, near_mm: float) -> Changes:
    """The changes from fp32's list (n, 4) to another (m, 4). Columns: x, y, z in mm, and probability."""
    expected, found = _shown(expected, found, threshold, near_mm), _shown(found, expected, threshold, near_mm)
    before, after = expected[:, 3] >= threshold, found[:, 3] >= threshold
    ours, theirs = _pairs(expected, found, before[:, None] != after[None, :], near_mm)
    kept = int((before[ours] & after[theirs]).sum())
    gone, new = np.delete(expected[:, 3], ours), np.delete(found[:, 3], theirs)
    moved = np.abs(expected[ours, 3] - found[theirs, 3])[before[ours] | after[theirs]]
    change = max(values.max(initial=0.0) for values in (moved, gone[gone >= threshold], new[new >= threshold]))
    return Changes(int(before.sum()), int(before.sum()) - kept, int(after.sum()) - kept, round(float(change), 6))


def _shown(these: Array, those: Array, threshold: float, near_mm: float) -> Array:
    """The items that are listed, or are near a listed item of `those`. Thousands may be neither."""
    listed = those[those[:, 3] >= threshold]
    far = cKDTree(listed[:, :3]).query(these[:, :3])[0] if len(listed) else np.full(len(these), np.inf)
    return these[(these[:, 3] >= threshold) | (far < near_mm)]


def _pairs(these: Array, those: Array, unlike: Array, near_mm: float) -> tuple[Array, Array]:
    """Which items are the same, as indices into both: each with at most one other, closer than near_mm, nearest first.

    `unlike` (n, m) marks pairs of which only one item is listed: they are matched only if nothing else is near.
    """
    far = np.linalg.norm(these[:, None, :3] - those[None, :, :3], axis=2)
    first, second = linear_sum_assignment(np.where(far < near_mm, far + near_mm * unlike, 3 * near_mm))
    near = far[first, second] < near_mm
    return first[near], second[near]


class Lists:
    """A task's lists on the calibration data, with one exported file after another in the chain of its runs."""

    def __init__(self, task: Task, listing: Listing, chain: Chain, data: Path | None) -> None:
        self._task, self._listing, self._chain, self._data = task, listing, chain, data

    def judged(self, network: str, precision: str, infer: Infer, most_lost: int) -> dict[str, Any]:
        """How the list changes with this file of the network. Raises ExportError if more than `most_lost` are lost."""
        if self._scans is None:
            return {"judged": False, "because": f"without the other networks {network} gives no probabilities"}
        for scan in self._scans:
            scan.keep(self._chain.in_use)
        with self._chain.trying(network, precision, infer) as versions:
            pairs = zip(self._lists(self._chain.full), self._lists(versions), strict=True)
            total = sum((self._changes(expected, found) for expected, found in pairs), NONE)
            beside = others(versions, network)
            facts = {"judged": True} | asdict(total) | {"scans": self._origin, "beside": beside}
            if total.lost > most_lost:
                raise ExportError(_refusal(f"{precision}.onnx of {network}", facts, most_lost))
        return facts

    def _lists(self, versions: Versions) -> list[Mapping[str, Array]]:
        pipeline = self._task.pipeline  # the whole one: `question` replaces absent networks
        networks = pipeline.sound(self._chain.networks(versions))
        lists = []
        for scan in self._scans or ():
            steps = leading_to(pipeline, self._listing.wires, scan.tensors)
            lists.append(self._listing.items(scan.answered(steps, networks, versions)))
        return lists

    def _changes(self, expected: Mapping[str, Array], found: Mapping[str, Array]) -> Changes:
        near, threshold = self._listing.near_mm, self._listing.threshold
        return sum((changes(expected[name], found[name], threshold, near) for name in expected), NONE)

    @cached_property
    def _scans(self) -> list[Question] | None:
        """The scans on which lists are compared; None if these networks alone list nothing."""
        with Scratch("export") as made_up:
            layout = self._task.known_data("judge a list")
            if self._data is None:
                layout.phantom(Path(made_up), 1, 0)
            data = self._data or Path(made_up)
            patients = list(layout.patients(data))
            places = np.linspace(0, len(patients) - 1, min(SCANS, len(patients))).astype(int)
            asked = (self._listing.question(data, patients[place], self._chain.runs) for place in places)
            scans = [None if question is None else Question(question) for question in asked]
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
