"""Shards: a cohort in parts, each with a ledger of its own, which can be merged into one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from medseg.cohort.case import Item
from medseg.cohort.how import refuse_other
from medseg.cohort.ledger import Ledger, merged, read_ledger, write_ledger
from medseg.errors import InputError, RunError

MANIFEST = "manifest.jsonl"


@dataclass(frozen=True)
class Shard:
    """The part `number` of `count`, counted from 1."""

    number: int = 1
    count: int = 1

    def manifest(self, out: Path) -> Path:
        """Its ledger."""
        return out / (MANIFEST if self.count == 1 else f"manifest-{self.number:05}-of-{self.count:05}.jsonl")

    def of(self, found: Sequence[Item]) -> list[Item]:
        """Its items. An item's name decides its shard, so a longer list moves no item to another shard."""
        return [one for one in found if _number(one.name, self.count) == self.number]

    def refuse_others(self, out: Path) -> None:
        """Raise RunError if the cohort was begun with another number of parts."""
        strange = [path for path in manifests(out) if not path.name.endswith(self.manifest(out).name[-15:])]
        if self.count == 1:
            strange = [path for path in manifests(out) if path.name != MANIFEST and not (out / MANIFEST).exists()]
        if strange:
            raise RunError(
                f"{strange[0]} belongs to a cohort with other parts than --shard {self.number}/{self.count}; expected "
                "the same number of parts: give the same --shard, or another --out"
            )


WHOLE = Shard()


def _number(name: str, count: int) -> int:
    return 1 + int.from_bytes(sha256(name.encode()).digest()[:8], "big") % count


def shard_from(words: str | None) -> Shard:
    """The shard from a text such as 2/8; None is the whole cohort. Raises InputError for other texts."""
    if words is None:
        return WHOLE
    match = re.fullmatch(r"(\d{1,5})/(\d{1,5})", words)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise InputError(f"--shard is {words!r}; expected NUMBER/COUNT, counted from 1, such as 2/8")
    return Shard(number, count)


def manifests(out: Path) -> list[Path]:
    """The ledgers in a cohort's folder."""
    return sorted(out.glob("manifest*.jsonl"))


def merge(out: Path) -> Ledger:
    """Merge the ledgers of all shards into manifest.jsonl; the shards' ledgers stay.

    Raises InputError if there are none, RunError if one is missing or they were begun with different runs or options.
    """
    parts = [path for path in manifests(out) if path.name != MANIFEST]
    if not parts:
        raise InputError(f"{out} holds no ledgers of shards; expected manifest-NUMBER-of-COUNT.jsonl of --shard")
    count = int(parts[0].stem.rsplit("-", 1)[1])
    missing = [number for number in range(1, count + 1) if not Shard(number, count).manifest(out).exists()]
    if missing or len(parts) > count:
        raise RunError(
            f"{out} holds {len(parts)} ledgers of shards and lacks {', '.join(map(str, missing[:10])) or 'none'} of "
            f"{count}; expected all parts: run those that are missing"
        )
    ledgers = [read_ledger(path) for path in parts]
    for path, one in zip(parts, ledgers, strict=True):
        refuse_other(path, one.how, ledgers[0].how)
    whole = merged(ledgers)
    write_ledger(out / MANIFEST, whole)
    return whole
