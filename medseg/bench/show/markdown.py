"""Markdown: the report as tables for a README or a pull request."""

from __future__ import annotations

from medseg.bench.measure.ledger import shown
from medseg.bench.record import LedgerRecord, PartRecord, Record, TargetRecord, WaterfallRecord
from medseg.bench.show import tables
from medseg.bench.show.cells import moment
from medseg.bench.show.notes import ledger_notes, parts_of, problems, unhashed, warnings
from medseg.bench.show.tables import seconds, table
from medseg.bench.show.verdict import verdict

INTERRUPTED = "**Interrupted: Ctrl-C ended this run before everything was measured.**"


def markdown(record: Record) -> str:
    """The report: speed and score of every target, then where the time goes."""
    parts = [f"# medseg bench {record['task']}", INTERRUPTED if record["interrupted"] else "", _machine_line(record)]
    parts += [
        " ".join(verdict(record)),
        table(*tables.target_rows(record)),
        _all_scores(record),
        _overall(record),
        _score_changes(record),
        _voters(record),
    ]
    parts += [_waterfall(found) for found in record["waterfalls"]]
    parts += [_ledger(target, target["ledger"]) for target in record["targets"] if target["ledger"]]
    parts += [_levels(target) for target in record["targets"] if target["levels"]]
    if record["networks"]:
        parts.append(f"## Networks alone, by batch\n\n{table(*tables.network_rows(record))}")
    parts.append(f"## Memory and power\n\n{table(*tables.usage_rows(record))}")
    if "against" in record:
        parts.append(_listed(f"Against {moment(record['against']['started'])}", record["against"]["sentences"]))
    parts += [_listed("Problems", problems(record)), _listed("Warnings", warnings(record))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _listed(title: str, lines: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _ledger(target: TargetRecord, book: LedgerRecord) -> str:
    header, rows = tables.ledger_rows(book)
    total = ["all", seconds(book["total_s"]), f"{book['total_s'] / book['median_s']:.1%} of the median", ""]
    text = " ".join(note for note in (*ledger_notes(target, book), shown(book["rows"])[1]) if note)
    return f"## {target['name']}: where the time goes\n\n{table(header, [*rows, total])}\n\n{text}"


def _overall(record: Record) -> str:
    header, rows = tables.overall_rows(record)
    return f"## {tables.OVERALL}\n\n{table(header, rows)}" if rows else ""


def _all_scores(record: Record) -> str:
    header, rows = tables.score_rows(record)
    return f"## Scores\n\n{table(header, rows)}" if rows else ""


def _score_changes(record: Record) -> str:
    return (
        f"## Where the score went\n\n{table(*tables.score_change_rows(record))}"
        if len(record["score_changes"]) > 1
        else ""
    )


def _voters(record: Record) -> str:
    header, lines = tables.voter_table(record)
    return f"## What each voter adds and costs\n\n{table(header, lines)}" if lines else ""


def _waterfall(found: WaterfallRecord) -> str:
    title = f"## {found['network']}: every file compared with torch, on {found['samples']}"
    return f"{title}\n\n{table(*tables.stage_rows(found))}"


def _levels(target: TargetRecord) -> str:
    return f"## {target['name']}: under load\n\n{table(*tables.level_rows(target))}"


def _machine_line(record: Record) -> str:
    made = [_made_on(part) for part in parts_of(record)]
    what = f"{'; '.join(made)}; {len(record['cases'])} cases"
    times = "Times are measured at the client, one request at a time unless a load is named"
    own = f"the load generator itself takes {seconds(record['client']['overhead_s'])} per request"
    return f"{what}. {times}; {own}. {unhashed(record)}".strip()


def _made_on(part: PartRecord) -> str:
    machine = part["machine"]
    gpu = machine["gpu"]["name"] if machine["gpu"] else "no GPU"
    where = f"{moment(part['started'])}, {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {gpu}"
    return f"{part['label']}: {where}" if part["label"] else where
