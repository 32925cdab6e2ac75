"""A cohort's progress on the terminal: done, failed, rate, the time left, and each worker's cases."""

from __future__ import annotations

import sys
from collections import Counter
from time import monotonic

from tqdm import tqdm

from medseg.cohort.case import DONE, FAILED
from medseg.cohort.ledger import Entry

_EVERY_S = 60.0  # between two lines if the output is not a terminal
_SHOWN = 4  # workers in the line


class Progress:
    """A line on stderr that is kept up to date, or a line per minute if stderr is no terminal. Prints failed cases."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()  # by stage
        self.workers: Counter[str] = Counter()
        self.all, self.before, self.began, self._told = 0, 0, monotonic(), monotonic()
        self._bar: tqdm | None = None

    def begun(self, cases: int, done: int) -> None:
        """The work begins: so many cases, of which so many are done already."""
        self.all, self.before, self.began = cases, done, monotonic()
        self._bar = tqdm(total=cases, initial=done, unit="case", disable=None, leave=False)

    def heard(self, entry: Entry) -> None:
        """A case is over."""
        self.statuses[entry.status] += 1
        self.seconds.update(entry.seconds)
        self.workers[entry.worker] += entry.status == DONE
        if entry.status == FAILED:
            tqdm.write(f"error: {entry.case}: {entry.error}", file=sys.stderr)
        if self._bar is not None and not self._bar.disable:
            self._bar.set_postfix_str(self._words(), refresh=False)
            self._bar.update()
        elif monotonic() - self._told > _EVERY_S:
            self._told = monotonic()
            print(self.line, file=sys.stderr)

    def _words(self) -> str:
        each = ", ".join(f"{name} {count}" for name, count in self.workers.most_common(_SHOWN) if name)
        return f"{self.statuses[FAILED]} failed; {each}"

    @property
    def rate(self) -> float:
        """Cases per second since this call began."""
        return self.statuses.total() / max(monotonic() - self.began, 1e-9)

    @property
    def line(self) -> str:
        """The progress as one line."""
        over = self.before + self.statuses.total()
        left_s = (self.all - over) / self.rate if self.rate else 0.0
        return f"{over} of {self.all} cases, {self.rate:.2f} a second, {left_s / 3600:.2f} h left; {self._words()}"

    def close(self) -> None:
        """Remove the line."""
        if self._bar is not None:
            self._bar.close()
