"""Moves answers to their place and lists them. Only the driver does: lost workers may still write to scratch."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.cohort.case import DONE, FAILED, SKIPPED, Item
from medseg.cohort.ledger import Entry, Writer
from medseg.cohort.schedule import Settled
from medseg.cohort.writing import ANSWERS, sync


@dataclass(frozen=True)
class Place:
    """Where answers go: from a scratch folder to the cohort's folder, and into its ledger."""

    out: Path
    scratch: Path
    how: Mapping[str, Any]  # what every entry says about the maker of the answer
    writer: Writer
    heard: Callable[[Entry], object]  # called with each entry that is listed

    def settled(self, over: Sequence[Settled]) -> None:
        """Move the answers of these cases to their place, then list them; both with one wait for the disk."""
        if not over:
            return
        entries = [self._entry(one) for one in over]
        if any(one.outcome.answer and one.outcome.answer.folder for one in over):
            sync(self.out / ANSWERS)
        self._add(entries)

    def unasked(self, items: Sequence[Item]) -> None:
        """List cases that are not sent to workers: skipped ones, and failed ones."""
        self._add(
            [
                Entry(one.name, one.input, one.own, SKIPPED if one.skipped else FAILED, one.skipped or one.error)
                for one in items
            ]
        )

    def _add(self, entries: Sequence[Entry]) -> None:
        self.writer.add(entries)
        for entry in entries:
            self.heard(entry)

    def _entry(self, one: Settled) -> Entry:
        item, answer = one.outcome.item, one.outcome.answer
        common = (item.name, item.input, item.own)
        more = {"attempts": one.attempts, "worker": one.outcome.worker, "at": round(time.time(), 3), **self.how}
        if answer is None:
            self._gone(item.name)
            return Entry(*common, FAILED, one.outcome.error, seconds=_rounded(one.outcome.seconds), **more)
        if answer.folder:
            self._put(answer.folder, item.name)
        files = {f"{ANSWERS}/{item.name}/{name}": digest for name, digest in answer.files.items()}
        seconds = _rounded(answer.seconds)
        return Entry(*common, DONE, "", answer.read, files, seconds, notes=list(answer.notes), **more)

    def _put(self, folder: str, name: str) -> None:
        """Move a scratch folder to the case's place; an earlier answer, which may be incomplete, is removed."""
        self._gone(name)
        (self.scratch / folder).rename(self.out / ANSWERS / name)

    def _gone(self, name: str) -> None:
        """Remove an unlisted answer of this name, which a killed call left behind."""
        left = self.out / ANSWERS / name
        with suppress(FileNotFoundError):
            aside = self.scratch / f"old-{os.urandom(8).hex()}"
            left.rename(aside)
            shutil.rmtree(aside)


def _rounded(seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in seconds.items()}
