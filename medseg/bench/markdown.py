"""Markdown: the report as tables for a README or a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.bench.ledger import shown
from medseg.bench.machine import BUSY
from medseg.bench.record import Record
from medseg.bench.tables import hop_rows, network_rows, seconds, stage_rows, table, voter_table
from medseg.bench.voting import is_voters

INTERRUPTED = "**Interrupted: Ctrl-C ended this run before everything was measured.**"


def markdown(record: Record) -> str:
    """The report: speed and score of every target, then where the time goes."""
    parts = [f"# medseg bench {record['task']}", _machine_line(record), _summary_table(record)]
    if record["interrupted"]:
        parts.insert(1, INTERRUPTED)
    parts += [part for part in (_hops_table(record), _voters_table(record)) if part]
    parts += [_waterfall_table(found) for found in record["waterfalls"]]
    parts += [_ledger_table(target) for target in record["targets"] if target["ledger"]]
    parts += [_levels_table(target) for target in record["targets"] if target["levels"]]
    if record["networks"]:
        parts.append(f"## Networks alone, by batch\n\n{table(*network_rows(record))}")
    if "against" in record:
        lines = [f"- {line}" for line in record["against"]["sentences"]]
        parts.append(f"## Against {record['against']['started']}\n\n" + "\n".join(lines))
    for title, lines in (("Problems", problems(record)), ("Warnings", warnings(record))):
        if lines:
            parts.append(f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines))
    return "\n\n".join(parts) + "\n"


def problems(record: Record) -> list[str]:
    """All problems, each with its target's name."""
    return [f"{target['name']}: {line}" for target in _all(record) for line in target["problems"]]


def warnings(record: Record) -> list[str]:
    """What lowers the worth of the times."""
    shares = [target["usage"]["busy"] for target in _all(record) if target["usage"]]
    busy = [share for share in shares if share > BUSY]
    if not busy:
        return []
    what = f"other programs used up to {max(busy):.0%} of the cores while {len(busy)} of {len(shares)} targets"
    return [f"{what} were measured: repeat on an idle machine"]


def _all(record: Record) -> list[Record]:
    return record["targets"] + record["networks"]


def summary_rows(record: Record) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of targets: latency one at a time, best throughput, mean scores."""
    metrics = shown_metrics(record)
    header = ["target", "first", "p50", "p90", "p95", "p99", "best throughput", "failed", *metrics]
    return header, [_summary_row(target, metrics) for target in record["targets"]]


def _summary_row(target: Record, metrics: Sequence[str]) -> list[str]:
    serial, scores = target["serial"]["summary"], mean_scores(target)
    requests, failed = counts(target)
    return [
        target["name"],
        seconds(target["first_s"]),
        *(seconds(serial.get(f"p{q}_s")) for q in (50, 90, 95, 99)),
        f"{best_per_s(target):.3g}/s" if best_per_s(target) else "-",
        f"{failed} of {requests}",
        *(f"{scores[name]:.4f}" if name in scores else "-" for name in metrics),
    ]


def shown_metrics(record: Record) -> list[str]:
    """The scores of whole answers; those of single voters have a table of their own."""
    names = dict.fromkeys(name for target in record["targets"] for name in target["accuracy"])
    return [name for name in names if not is_voters(name)]


def mean_scores(target: Record) -> dict[str, float]:
    """The mean over cases of each metric."""
    names = dict.fromkeys(name for scores in target["scores"].values() for name in scores)
    values = {name: [scores[name] for scores in target["scores"].values() if name in scores] for name in names}
    return {name: sum(found) / len(found) for name, found in values.items()}


def counts(target: Record) -> tuple[int, int]:
    """How many requests were timed, and how many of them failed."""
    summaries = [target["serial"]["summary"], *(level["summary"] for level in target["levels"])]
    return sum(one["requests"] for one in summaries), sum(one["errors"] for one in summaries)


def best_per_s(target: Record) -> float:
    """The highest throughput over all levels of load; one at a time where there were none."""
    median_s = target["serial"]["summary"].get("p50_s")
    return max([level["per_s"] for level in target["levels"]] + ([1 / median_s] if median_s else [0.0]))


def _summary_table(record: Record) -> str:
    return table(*summary_rows(record))


def _ledger_table(target: Record) -> str:
    book = target["ledger"]
    large, note = shown(book["rows"])
    lines = [
        [row["stage"], seconds(row["seconds"]), f"{row['share']:.1%}", f"{row['items']:g}" if row["items"] else ""]
        for row in large
    ]
    total = ["all", seconds(book["total_s"]), f"{book['total_s'] / book['median_s']:.1%} of the median", ""]
    found = table(["stage", "time", "share", "items"], [*lines, total])
    text = f"{book['next']} {note}".strip()
    return f"## {target['name']}: where the time goes\n\n{found}\n\n{text}"


def _hops_table(record: Record) -> str:
    if len(record["hops"]) < 2:
        return ""
    return f"## Where the score went\n\n{table(*hop_rows(record))}"


def _voters_table(record: Record) -> str:
    header, lines = voter_table(record)
    return f"## What each voter adds and costs\n\n{table(header, lines)}" if lines else ""


def _waterfall_table(found: Record) -> str:
    return f"## {found['network']}: every file beside torch, on {found['samples']}\n\n{table(*stage_rows(found))}"


def _levels_table(target: Record) -> str:
    header = ["load", "p50", "p90", "p95", "p99", "throughput", "failed", "stable"]
    lines = [
        [
            level_name(level),
            *(seconds(level["summary"].get(f"p{q}_s")) for q in (50, 90, 95, 99)),
            f"{level['per_s']:.3g}/s",
            f"{level['summary']['errors']} of {level['summary']['requests']}",
            "yes" if level["stable"] else "no",
        ]
        for level in target["levels"]
    ]
    return f"## {target['name']}: under load\n\n{table(header, lines)}"


def level_name(level: Record) -> str:
    """What a level was: `4 at once`, or `20/s poisson`."""
    return f"{level['load']:g} at once" if level["mode"] == "closed" else f"{level['load']:g}/s {level['mode']}"


def _machine_line(record: Record) -> str:
    machine = record["machine"]
    gpu = f", {machine['gpu']['name']}" if machine["gpu"] else ", no GPU"
    what = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB{gpu}; {len(record['cases'])} cases"
    return f"{record['started']}, {what}. Times are the client's, one request at a time unless a load is named."
