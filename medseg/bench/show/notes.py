"""What follows from a record's numbers: problems, warnings, notes, and names."""

from __future__ import annotations

from medseg.bench.measure.machine import BUSY
from medseg.bench.record import LedgerRecord, LevelRecord, PartRecord, Record, TargetRecord
from medseg.metrics.voters import is_voters


def parts_of(record: Record) -> list[PartRecord]:
    """The runs that a report is of: several where it was merged, each with a label."""
    alone: PartRecord = {
        "label": "",
        "started": record["started"],
        "medseg": record["medseg"],
        "machine": record["machine"],
        "command": record["command"],
    }
    return record.get("merged", [alone])


def problems(record: Record) -> list[str]:
    """All problems, each with its target's name."""
    return [f"{target['name']}: {line}" for target in measured(record) for line in target["problems"]]


def warnings(record: Record) -> list[str]:
    """Warnings that make the times less reliable."""
    shares = [target["usage"]["busy"] for target in measured(record) if target["usage"]]
    busy = [share for share in shares if share > BUSY]
    if not busy:
        return []
    what = "the target was" if len(shares) == 1 else f"{len(busy)} of {len(shares)} targets were"
    return [f"other programs used up to {max(busy):.0%} of the cores while {what} measured: repeat on an idle machine"]


def unhashed(record: Record) -> str:
    """A sentence about servers that were already running: which files they run is not known.

    Empty where there are none.
    """
    names = ", ".join(target["name"] for target in record["targets"] if target["facts"].get("where") == "remote")
    return f"Which model files {names} runs is not known, so there are no hashes of them." if names else ""


def measured(record: Record) -> list[TargetRecord]:
    """The targets, and the networks alone."""
    return record["targets"] + record["networks"]


def shown_metrics(record: Record) -> list[str]:
    """The scores in the tables, the main one first; those of single voters have a table of their own."""
    names = dict.fromkeys(name for target in record["targets"] for row in target["scores"].values() for name in row)
    known = [name for name in record["brief"] or names if name in names and not is_voters(name)]
    return sorted(known, key=lambda name: name != record["main"])


def on_part(record: Record, target: TargetRecord, metric: str) -> str:
    """`3 of 6 cases` where a target's mean is over fewer cases than another's; empty where they can be compared."""
    cases = {one["name"]: one["accuracy"][metric]["cases"] for one in record["targets"] if metric in one["accuracy"]}
    own, most = cases.get(target["name"], 0), max(cases.values(), default=0)
    return f"{own} of {most} cases" if 0 < own < most else ""


def counts(target: TargetRecord) -> tuple[int, int]:
    """How many requests were timed, and how many of them failed."""
    summaries = [target["serial"]["summary"], *(level["summary"] for level in target["levels"])]
    return sum(int(one["requests"]) for one in summaries), sum(int(one["errors"]) for one in summaries)


def best_per_s(target: TargetRecord) -> float | None:
    """The highest throughput over all levels of load; one at a time where there were none, None without answers."""
    median_s = target["serial"]["summary"].get("p50_s")
    rates = [level["per_s"] for level in target["levels"]] + ([1 / median_s] if median_s else [])
    return max(rates, default=None)


def level_name(level: LevelRecord) -> str:
    """What a level was: `4 at once`, or `20/s poisson`."""
    return f"{level['load']:g} at once" if level["mode"] == "closed" else f"{level['load']:g}/s {level['mode']}"


def ledger_notes(target: TargetRecord, book: LedgerRecord) -> list[str]:
    """The text below a ledger: what to speed up next, the networks' numbers of inputs, an empty request's time."""
    rows, given = book["rows"], target["fan_out"]
    found = [book["next"]]
    if given and not any(row["items"] for row in rows):  # no row is a network's own
        inputs = ", ".join(f"{name} {count:g}" for name, count in given.items())
        found.append(f"Inputs that each network got within one request: {inputs}.")
    if target["round_trip_s"] is not None:
        empty, own = (f"{(one_s or 0) * 1e3:.3g} ms" for one_s in (target["round_trip_s"], target["client_s"]))
        found.append(f"The client itself works {own} for each request; an empty request to this server takes {empty}.")
    return found
