"""Each process's own memory during the test, and how much it grew after its level.

A process's level is its memory after a tenth of all requests, because until then buffers and caches fill. A process
that replaces a killed one has a level of its own. Memory is read at rest, when all requests are answered and the
processes have returned the memory that they keep for some seconds (medseg/triton_models/heap.py).
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak.asking import Asked
from benchmarks.soak.killing import family
from medseg.triton_models.heap import TRIM_SECONDS

MOST_GROWTH = 0.05
REST_SECONDS = TRIM_SECONDS + 2


def _own(process: int) -> int:
    """The bytes that a process has written or allocated, in memory or swapped out.

    The code of its libraries is not included, although the kernel counts it as private while no other process uses it.
    """
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return (kilobytes["Anonymous"] + kilobytes["Swap"]) * 1024


@dataclass
class Memory:
    """Readings of each process, by name and id: the number of requests so far, and its own memory in MB."""

    settled: int  # after so many requests a process has its level
    readings: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def note(self, serve: subprocess.Popen[str], asked: Asked) -> None:
        """Add a reading of every living process, at rest."""
        asked.going.clear()
        time.sleep(REST_SECONDS)
        self._read(serve, asked.done)
        asked.going.set()

    def _read(self, serve: subprocess.Popen[str], done: int) -> None:
        for name, process in family(serve).items():
            try:
                reading = (done, round(_own(process.pid) / 1e6, 1))
            except OSError:
                continue
            self.readings.setdefault(f"{name} {process.pid}", []).append(reading)

    def growth(self, process: str) -> float | None:
        """By what share of its level a process grew; None if it did not live long enough."""
        readings = self.readings[process]
        after = [mb for done, mb in readings if done >= readings[0][0] + self.settled]
        return after[-1] / after[0] - 1 if len(after) > 1 else None

    def table(self) -> list[str]:
        """A line for each process: its growth, and its MB after so many thousand requests."""
        lines = []
        for process, readings in self.readings.items():
            grown = self.growth(process)
            said = "" if grown is None else f"{grown:+.1%}{' GREW' if grown > MOST_GROWTH else ''}"
            lines.append(f"{process:32} {said:12} " + " ".join(f"{done / 1000:g}k:{mb:.0f}" for done, mb in readings))
        return lines
