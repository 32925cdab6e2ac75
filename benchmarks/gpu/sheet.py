"""Sheet: a tier's results, item by item; each is on the disk as soon as it is known."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from medseg.errors import MedsegError
from medseg.files import whole_file

Fact = str | float | bool | None
Facts = Mapping[str, Fact]


class ShortError(Exception):
    """An item cannot go further on this machine, as expected; its facts so far are kept."""

    def __init__(self, reason: str, facts: Facts) -> None:
        super().__init__(reason)
        self.facts = facts


@dataclass(frozen=True)
class Item:
    """One thing that was tried. `short` says why a machine without a GPU could not go on, `problem` what failed."""

    name: str
    seconds: float
    facts: Facts = field(default_factory=dict)
    short: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Result:
    """A tier as its JSON file holds it; `state` is "running" until it is "done", "stopped" or "failed"."""

    tier: str
    title: str
    rehearsal: bool
    gpu: str = ""
    state: str = "running"
    problem: str = ""
    seconds: float = 0.0
    items: tuple[Item, ...] = ()


class Sheet:
    """One tier's result while it runs."""

    def __init__(self, file: Path, result: Result) -> None:
        self.file, self.result, self._started = file, result, time.perf_counter()
        self._write()

    def item(self, name: str, work: Callable[[], Facts]) -> Facts:
        """Run an item's work and record its facts; none if it failed, which does not stop other items."""
        started, facts, short, problem = time.perf_counter(), dict[str, Fact](), "", ""
        try:
            facts = dict(work())
        except ShortError as error:
            facts, short = dict(error.facts), str(error)
        except Exception as error:
            traceback.print_exc()
            problem = _sentence(error)
        seconds = round(time.perf_counter() - started, 1)
        item = Item(name, seconds, facts, short, problem)
        self.result = replace(self.result, items=(*self.result.items, item))
        self._write()
        print(f"{self.result.tier}: {name}: {problem or short or facts}", file=sys.stderr, flush=True)
        return item.facts

    def end(self, state: str = "done", problem: str = "") -> None:
        """Record that the tier has ended."""
        self.result = replace(self.result, state=state, problem=problem)
        self._write()

    def _write(self) -> None:
        self.result = replace(self.result, seconds=round(time.perf_counter() - self._started, 1))
        write(self.file, self.result)


def write(file: Path, result: Result) -> None:
    """Write the result as JSON; the file is complete at every moment."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as path:
        path.write_text(json.dumps(asdict(result), indent=1, default=str) + "\n")


def read(file: Path) -> Result:
    """The result from a file."""
    held = json.loads(file.read_text())
    return Result(**held | {"items": tuple(Item(**item) for item in held["items"])})


def _sentence(error: Exception) -> str:
    """An error in one line."""
    first = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
    return first if isinstance(error, MedsegError) else f"{type(error).__name__}: {first}"[:400]
