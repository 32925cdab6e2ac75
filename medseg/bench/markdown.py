"""Markdown: the report as tables for a README or a pull request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medseg.bench.record import Record


def markdown(record: Record) -> str:
    """The report: speed and score of every target, then where the time goes."""
    parts = [f"# medseg bench {record['task']}", _machine_line(record), _summary_table(record)]
    parts += [_ledger_table(target) for target in record["targets"] if target["ledger"]]
    parts += [_levels_table(target) for target in record["targets"] if target["levels"]]
    if "against" in record:
        lines = [f"- {line}" for line in record["against"]["sentences"]]
        parts.append(f"## Against {record['against']['started']}\n\n" + "\n".join(lines))
    for title, kind in (("Problems", "problems"), ("Warnings", "warnings")):
        if lines := said(record, kind):
            parts.append(f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines))
    return "\n\n".join(parts) + "\n"


def said(record: Record, kind: str) -> list[str]:
    """All `problems` or all `warnings`, each with its target's name."""
    return [f"{target['name']}: {line}" for target in record["targets"] for line in target[kind]]


def summary_rows(record: Record) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of targets: latency one at a time, best throughput, mean scores."""
    metrics = list(dict.fromkeys(name for target in record["targets"] for name in mean_scores(target)))
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


def seconds(value: float | None) -> str:
    """A time with the unit that reads best."""
    if value is None:
        return "-"
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-4 or value == 0 else f"{value * 1e6:.2g} µs"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; numbers, everything but the first column, to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _summary_table(record: Record) -> str:
    return table(*summary_rows(record))


def _ledger_table(target: Record) -> str:
    book = target["ledger"]
    lines = [
        [row["stage"], seconds(row["seconds"]), f"{row['share']:.1%}", f"{row['items']:g}" if row["items"] else ""]
        for row in book["rows"]
    ]
    total = ["all", seconds(book["total_s"]), f"{book['total_s'] / book['median_s']:.1%} of the median", ""]
    found = table(["stage", "time", "share", "items"], [*lines, total])
    return f"## {target['name']}: where the time goes\n\n{found}\n\n{book['next']}"


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
