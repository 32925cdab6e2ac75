"""HTML: the report as one file that needs nothing else: no network, no fonts, no libraries."""

from __future__ import annotations

from importlib.resources import files

import jinja2
from markupsafe import Markup

from medseg.bench.measure.ledger import shown
from medseg.bench.record import LedgerRecord, LedgerRow, Record
from medseg.bench.show import cells, plots, tables
from medseg.bench.show.notes import ledger_notes, parts_of, problems, shown_metrics, unhashed, warnings
from medseg.bench.show.terms import terms
from medseg.bench.show.verdict import verdict
from medseg.data.picture import RUN_COLOURS

COLOURS = 8


def html(record: Record) -> str:
    """The page."""
    environment = page_maker()
    environment.globals |= {
        "tables": tables,
        "bands": bands,
        "shown": shown,
        "ledger_notes": ledger_notes,
        "terms": terms(record),
    }
    metrics = shown_metrics(record)
    return environment.get_template("report.html.j2").render(
        record=record,
        parts=parts_of(record),
        metrics=metrics,
        verdict=verdict(record),
        problems=problems(record),
        warnings=warnings(record),
        stages=_by_size(record),
        colours=[f"rgb{colour}" for colour in RUN_COLOURS],
        unhashed=unhashed(record),
        figures=[(title, Markup(drawing)) for title, drawing in _figures(record, metrics) if drawing],  # noqa: S704 - ours
    )


def page_maker() -> jinja2.Environment:
    """What makes pages of the templates beside this file."""
    loader = jinja2.FunctionLoader(lambda name: files("medseg.bench.show").joinpath(name).read_text())
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"seconds": cells.seconds, "moment": cells.moment, "worded": cells.worded}
    return environment


def _figures(record: Record, metrics: list[str]) -> list[tuple[str, str | None]]:
    first = metrics[0] if metrics else ""
    return [
        ("Score against latency", plots.pareto(record, first)),
        ("Latency against throughput", plots.latency_throughput(record)),
        (f"Where the {first} went", plots.waterfall(record["score_changes"])),
        (f"{first}, case by case", plots.strips(record, first)),
        ("Latency of single requests", plots.latencies(record)),
    ]


def _by_size(record: Record) -> list[str]:
    """All stages, the largest share anywhere first: those get a colour of their own."""
    largest: dict[str, float] = {}
    for row in (row for target in record["targets"] if target["ledger"] for row in target["ledger"]["rows"]):
        largest[row["stage"]] = max(row["share"], largest.get(row["stage"], 0.0))
    return sorted(largest, key=lambda stage: -largest[stage])


def bands(book: LedgerRecord, stages: list[str]) -> list[tuple[LedgerRow, int]]:
    """The ledger's rows that carry time with each stage's colour, the same in every target; the last is the rest's."""
    return [(row, min(stages.index(row["stage"]), COLOURS - 1)) for row in shown(book["rows"])[0]]
