"""HTML: the report as one file that needs nothing else: no network, no fonts, no libraries."""

from __future__ import annotations

from importlib.resources import files

import jinja2
from markupsafe import Markup

from medseg.bench import plots
from medseg.bench.markdown import best_per_s, counts, level_name, said, seconds
from medseg.bench.record import Record


def html(record: Record) -> str:
    """The page."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"seconds": seconds, "change": lambda value: f"{value:+.2%}"}
    environment.globals |= {"best_per_s": best_per_s, "counts": counts, "level_name": level_name, "bands": bands}
    metrics = list(dict.fromkeys(name for target in record["targets"] for name in target["accuracy"]))
    template = files("medseg.bench").joinpath("report.html.j2").read_text()
    return environment.from_string(template).render(
        record=record,
        metrics=metrics,
        problems=said(record, "problems"),
        warnings=said(record, "warnings"),
        stages=list(dict.fromkeys(row["stage"] for target in record["targets"] for row in _rows(target))),
        figures=[(title, Markup(drawing)) for title, drawing in _figures(record, metrics) if drawing],  # noqa: S704 - ours
    )


def _figures(record: Record, metrics: list[str]) -> list[tuple[str, str | None]]:
    first = metrics[0] if metrics else ""
    return [
        ("Score against latency", plots.pareto(record, first)),
        ("Latency against throughput", plots.latency_throughput(record)),
        (f"{first}, case by case", plots.strips(record, first)),
        ("Latency of single requests", plots.latencies(record)),
    ]


def _rows(target: Record) -> list[Record]:
    return target["ledger"]["rows"] if target["ledger"] else []


def bands(target: Record, stages: list[str]) -> list[tuple[Record, int]]:
    """The ledger's rows with the number of each stage's colour, which is the same in every target."""
    return [(row, stages.index(row["stage"]) % 8) for row in _rows(target)]
