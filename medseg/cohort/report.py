"""The report of a cohort: report.md and report.html, in the style of a benchmark's."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from medseg.bench.show.html import page_maker
from medseg.bench.show.plots import SERIES, svg
from medseg.bench.show.tables import Table, table
from medseg.cohort import figures
from medseg.cohort.ledger import Ledger
from medseg.files import whole_file

PARTS = {
    "All cases": figures.overview,
    "Failed cases": figures.failed,
    "Seconds by stage": figures.stages,
    "Slowest cases": figures.slowest,
    "Workers": figures.workers,
    "Calls": figures.calls,
}


def write_report(folder: Path, ledger: Ledger) -> list[Path]:
    """Write report.md and report.html; returns their paths."""
    texts = {"report.md": markdown(ledger), "report.html": html(ledger)}
    for name, text in texts.items():
        with whole_file(folder / name) as temporary:
            temporary.write_text(text)
    return [folder / name for name in texts]


def markdown(ledger: Ledger) -> str:
    """The report as tables."""
    parts = [f"# medseg batch {ledger.how.get('task', '')}", made_by(ledger)]
    parts += [f"## {title}\n\n{table(header, rows)}" for title, (header, rows) in _tables(ledger)]
    return "\n\n".join(parts) + "\n"


def html(ledger: Ledger) -> str:
    """The report as one page that needs nothing else."""
    template = files("medseg.cohort").joinpath("report.html.j2").read_text()
    environment = page_maker()  # the benchmark's, so that both reports look the same and can be sorted
    return environment.from_string(template).render(
        task=ledger.how.get("task", ""),
        made_by=made_by(ledger),
        tables=_tables(ledger),
        drawing=Markup(_drawing(ledger)),  # noqa: S704 - ours
    )


def made_by(ledger: Ledger) -> str:
    """What made the answers, in one line."""
    how = {**ledger.how, **(ledger.how["served"] if isinstance(ledger.how.get("served"), dict) else {})}
    runs = ", ".join(f"{one.get('network')} {str(one.get('sha256'))[:12]}" for one in how.get("runs", ()))
    options = ", ".join(f"{name} {value}" for name, value in how.get("options", {}).items())
    words = (f"medseg {how.get('medseg', '')}", how.get("engine"), how.get("precision"), runs, options)
    return " · ".join(str(word) for word in words if word)


def _tables(ledger: Ledger) -> list[tuple[str, Table]]:
    found = [(title, part(ledger)) for title, part in PARTS.items()]
    return [(title, one) for title, one in found if one[1]]


def _drawing(ledger: Ledger) -> str:
    """Cases per hour over time, as SVG; "" if there are too few."""
    hours, rates = figures.rate(ledger)
    if not hours:
        return ""

    def draw(axes: Any) -> None:
        axes.plot(hours, rates, color=SERIES[0], drawstyle="steps-mid")
        axes.set(xlabel="hours since the first call", ylabel="cases an hour", ylim=(0, None))

    return svg(draw, "Cases an hour over time", 0)
