"""A cohort as the command carries it out: the line on the terminal, the ledger, and the reports at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.cohort.batch import Rules, batch
from medseg.cohort.case import DONE, FAILED, SKIPPED, Work
from medseg.cohort.how import how_asked
from medseg.cohort.ledger import Ledger
from medseg.cohort.metrics import exported
from medseg.cohort.pools import Workers, check
from medseg.cohort.progress import Progress
from medseg.cohort.remote import is_remote, sent
from medseg.cohort.report import write_report
from medseg.cohort.shards import MANIFEST, WHOLE, merge
from medseg.errors import InputError
from medseg.task import Task


@dataclass(frozen=True)
class Where:
    """The folder of the ledger, and the address of the answers if they do not go there too."""

    folder: Path
    url: str | None = None
    metrics_port: int | None = None  # where its Prometheus metrics are served


def where(out: str, ledger: Path | None, metrics_port: int | None = None) -> Where:
    """Where a cohort is written. Raises InputError for an address without a folder for the ledger, or two folders."""
    if is_remote(out) and ledger is None:
        raise InputError(
            f"--out is {out}, where a ledger cannot be appended to; add --ledger DIR, a folder for manifest.jsonl, "
            "which is also uploaded at the end"
        )
    if ledger is not None and not is_remote(out):
        raise InputError(
            f"--ledger is {ledger} and --out a folder too; expected the ledger in --out: leave --ledger out"
        )
    url = out.rstrip("/") if ledger else None
    return Where((ledger or Path(out)).absolute(), url, metrics_port)


@dataclass(frozen=True)
class Summary:
    """The number of cases by status, and the files that were written; the first one is the ledger."""

    cases: int
    done: int
    failed: int
    skipped: int
    files: tuple[str, ...]


def carried_out(task: Task, words: Sequence[str], place: Where, asked: tuple[Work, Workers], rules: Rules) -> Summary:
    """Answer the cohort as far as possible, with a line on the terminal meanwhile. Raises InputError for no words."""
    work, workers = asked
    if not words:
        raise InputError("no INPUT was given; expected files, folders, patterns, addresses or lists")
    check(workers, work)
    how = how_asked(work, tuple(workers.urls))
    with closing(Progress()) as progress, exported(progress, place.metrics_port):
        told = replace(rules, begun=progress.begun, heard=progress.heard)
        ledger = batch(task, words, place.folder, (work, how), workers.open, told)
    path = rules.shard.manifest(place.folder)
    return _ended(ledger, place, path, write_report(place.folder, ledger) if rules.shard == WHOLE else [])


def joined(place: Where) -> Summary:
    """Merge the ledgers of all shards into one."""
    ledger = merge(place.folder)
    return _ended(ledger, place, place.folder / MANIFEST, write_report(place.folder, ledger))


def _ended(ledger: Ledger, place: Where, path: Path, reports: Sequence[Path]) -> Summary:
    counts = Counter(entry.status for entry in ledger.entries.values())
    written = [path, *reports]
    if place.url:
        for one in written:
            sent(one, place.url)
    return Summary(len(ledger.entries), counts[DONE], counts[FAILED], counts[SKIPPED], tuple(map(str, written)))
