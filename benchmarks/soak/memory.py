"""Each process's own memory during the test, and how much it grew after its level.

A process's level is its memory after a tenth of all requests, because until then buffers and caches fill. A process
that replaces a killed one has a level of its own. Memory is read at rest, when all requests are answered and the
processes have returned the memory that they keep for some seconds (medseg/triton_models/heap.py).

Two figures are read. `own` is what the process itself allocated. `resident` is what `top` shows as RES: it also counts
the pages of libraries and of shared memory that the process uses, and so hides a small growth of a small process.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.soak.asking import Asked
from benchmarks.soak.killing import family
from medseg.triton_models.heap import TRIM_SECONDS

MOST_GROWTH = 0.05
REST_SECONDS = TRIM_SECONDS + 2


class Reading(NamedTuple):
    """A process's memory in MB after so many requests."""

    done: int
    own: float
    resident: float


def _reading(process: int, done: int) -> Reading:
    """A process's memory now.

    The code of its libraries is not its own, although the kernel counts it as private while no other process uses it.
    """
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    own, resident = kilobytes["Anonymous"] + kilobytes["Swap"], kilobytes["Rss"] + kilobytes["Swap"]
    return Reading(done, round(own * 1024 / 1e6, 1), round(resident * 1024 / 1e6, 1))


@dataclass
class Memory:
    """Readings of each process, by name and id."""

    settled: int  # after so many requests a process has its level
    readings: dict[str, list[Reading]] = field(default_factory=dict)

    def note(self, serve: subprocess.Popen[str], asked: Asked) -> None:
        """Add a reading of every living process, at rest."""
        asked.going.clear()
        time.sleep(REST_SECONDS)
        self._read(serve, asked.done)
        asked.going.set()

    def _read(self, serve: subprocess.Popen[str], done: int) -> None:
        for name, process in family(serve).items():
            with suppress(OSError):
                self.readings.setdefault(f"{name} {process.pid}", []).append(_reading(process.pid, done))

    def growth(self, process: str) -> dict[str, float]:
        """By what share of its level each figure of a process grew; empty if it did not live long enough."""
        readings = self.readings[process]
        after = [one for one in readings if one.done >= readings[0].done + self.settled]
        if len(after) < 2:
            return {}
        return {name: getattr(after[-1], name) / getattr(after[0], name) - 1 for name in ("own", "resident")}

    def table(self) -> list[str]:
        """A line for each process: its growth, and its own and resident MB after so many thousand requests."""
        lines = []
        for process, readings in self.readings.items():
            said = " ".join(
                f"{name} {grown:+.1%}{' GREW' if grown > MOST_GROWTH else ''}"
                for name, grown in self.growth(process).items()
            )
            each = " ".join(f"{one.done / 1000:g}k:{one.own:.1f}/{one.resident:.0f}" for one in readings)
            lines.append(f"{process:32} {said:32} {each}")
        return lines
