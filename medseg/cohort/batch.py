"""What `medseg batch` does: a cohort through a pipeline; it continues where an earlier call stopped."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import Any

from medseg.cohort.case import DONE, Item, Pool, Work
from medseg.cohort.how import expected, of_each, refuse_other
from medseg.cohort.inputs import items
from medseg.cohort.ledger import Entry, Ledger, Writer, read_ledger, write_ledger
from medseg.cohort.place import Place
from medseg.cohort.remote import is_remote
from medseg.cohort.schedule import carry_out
from medseg.cohort.shards import WHOLE, Shard
from medseg.cohort.sources import stamp
from medseg.cohort.writing import ANSWERS
from medseg.lock import locked
from medseg.task import Task

SCRATCH = ".scratch"
_PATIENCE_S = 3.0  # how long to wait for another call's lock, which is held until that call ends


def _nobody(*_: object) -> None:
    """Does nothing."""


@dataclass(frozen=True)
class Rules:
    """How a cohort is carried out, and the functions that are called meanwhile."""

    retry: int = 2  # further tries of a case that failed
    shard: Shard = WHOLE
    restart: bool = False  # whether an earlier ledger and its answers are removed
    session: Mapping[str, Any] = field(default_factory=dict)  # what the ledger says about this call: workers, price
    begun: Callable[[int, int], object] = _nobody  # called with the number of cases, and how many are done already
    heard: Callable[[Entry], object] = _nobody  # called with each finished case


def batch(
    task: Task,
    words: Sequence[str],
    out: Path,
    asked: tuple[Work, Mapping[str, Any]],
    pools: Callable[[Work], Pool],
    rules: Rules,
) -> Ledger:
    """Answer the cohort in `out` until every case is done or has failed, and return its ledger.

    `words` are as in `inputs.items`; `asked` is the work and the result of `how_asked` for it; `pools` opens workers.
    Cases that an earlier call finished are kept, failed ones are tried again. Raises RunError if another call works
    there, or if the ledger was begun with other runs or options.
    """
    work, how = asked
    path = rules.shard.manifest(out)
    (out / ANSWERS).mkdir(parents=True, exist_ok=True)
    with locked(out, f".{path.stem}.lock", _PATIENCE_S):
        rules.shard.refuse_others(out)
        before = _before(path, how, rules)
        found = items(task, words, work.reading, {one.key: one.case for one in before.entries.values()})
        mine = rules.shard.of(found)
        left = [one for one in mine if not _is_done(one, before.entries.get(one.name), out, work)]
        write_ledger(path, replace(before, sessions=[*before.sessions, _session(rules)]))
        rules.begun(len(mine), len(mine) - len(left))
        with _scratch(out / SCRATCH / path.stem) as scratch, closing(Writer(path)) as writer:
            place = Place(out, scratch, of_each(how), writer, rules.heard)
            place.unasked([one for one in left if one.error or one.skipped])
            known = replace(work, scratch=str(scratch), expected=expected(how))
            _answered([one for one in left if not (one.error or one.skipped)], known, place, pools, rules.retry)
        whole = _ended(read_ledger(path))
        write_ledger(path, whole, order=[one.name for one in mine])
    return whole


def _answered(left: Sequence[Item], work: Work, place: Place, pools: Callable[[Work], Pool], retry: int) -> None:
    """Send the cases to workers, if there are any cases."""
    if left:
        with closing(pools(work)) as pool:
            carry_out(left, pool, retry, place.settled)


def _before(path: Path, how: Mapping[str, Any], rules: Rules) -> Ledger:
    """The ledger of earlier calls. Raises RunError if they used other runs or options."""
    if not path.exists() or rules.restart:
        if path.exists():
            _forget(path, rules.shard)
        return Ledger(how)
    before = read_ledger(path)
    if not before.how:  # it was killed before its first line was complete
        return Ledger(how)
    refuse_other(path, before.how, how)
    return before


def _forget(path: Path, shard: Shard) -> None:
    """Remove a ledger and, if it is the whole cohort's, all answers."""
    path.unlink()
    if shard == WHOLE:
        shutil.rmtree(path.parent / ANSWERS)
        (path.parent / ANSWERS).mkdir()


def _is_done(item: Item, entry: Entry | None, out: Path, work: Work) -> bool:
    """Whether an earlier call answered this case, the answer is still there, and the input has not changed."""
    if entry is None or entry.status != DONE or entry.key != (item.input, item.own):
        return False
    if not work.upload and not (out / ANSWERS / item.name).is_dir():
        return False
    if is_remote(item.input) or not Path(item.input).exists():
        return True
    now = stamp(Path(item.input))
    return all(entry.read.get(name) == value for name, value in now.items())


def _session(rules: Rules) -> dict[str, Any]:
    return {"began": round(time.time(), 3), "host": socket.gethostname(), **rules.session}


def _ended(ledger: Ledger) -> Ledger:
    """The ledger, with the end of the latest call noted."""
    *earlier, latest = ledger.sessions
    return replace(ledger, sessions=[*earlier, {**latest, "ended": round(time.time(), 3)}])


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A new folder for unfinished answers, used by this call only; leftovers of earlier calls are removed."""
    shutil.rmtree(folder, ignore_errors=True)
    made = folder / token_hex(8)
    made.mkdir(parents=True)
    try:
        yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)
