"""Plots: inline SVG that takes its colours from the page, so that one drawing serves light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from medseg.bench.record import LevelRecord, Record, ScoreChange, TargetRecord
from medseg.bench.show.notes import on_part

INK, GRID = "#010203", "#040506"  # stand-ins, replaced by the page's variables
SERIES = tuple(f"#0a0b{number:02x}" for number in range(8))
MARKERS = "osD^vPX*"  # a shape for each series, for those who do not see its colour

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "medseg",
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
}
_FEW = 5  # the names of more targets need a steeper slant not to touch
_LEAST_SPAN = 0.004  # of a waterfall's scores: a change that its label rounds to 0 is no bar to be seen


def latency_throughput(record: Record) -> str | None:
    """Median (solid) and p95 (dotted) latency against throughput, a curve a target; hollow marks are open loops."""
    targets = [target for target in record["targets"] if _loaded(target)]

    def draw(axes: Any) -> None:
        for number, target in enumerate(targets):
            for quantile, line in ((50, "-"), (95, ":")):
                look = {"color": SERIES[number % 8], "marker": MARKERS[number % 8], "ms": 5}
                label = target["name"] if quantile == 50 else None
                axes.plot(*_points(target, quantile, "closed"), line, label=label, **look)
                axes.plot(*_points(target, quantile, "poisson", "constant"), ls="", mfc="none", **look)
        axes.set(xlabel="answers per second", ylabel="latency, ms", yscale="log", xlim=(0, None))
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if high > 10 * low else MaxNLocator(5))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))

    several = any(len(_loaded(target)) > 1 for target in targets)
    return svg(draw, "Latency against throughput of every target at every load", len(targets)) if several else None


def _loaded(target: TargetRecord) -> list[LevelRecord]:
    return [level for level in target["levels"] if "p50_s" in level["summary"]]


def _points(target: TargetRecord, quantile: int, *modes: str) -> tuple[list[float], list[float]]:
    levels = sorted((one for one in _loaded(target) if one["mode"] in modes), key=lambda one: one["load"])
    return [one["per_s"] for one in levels], [1000 * one["summary"][f"p{quantile}_s"] for one in levels]


def pareto(record: Record, metric: str) -> str | None:
    """Mean score against median latency, a point a target with its interval; the undominated are joined.

    A target whose mean is over fewer cases than the others' is named so, and is not joined.
    """
    targets = [target for target in record["targets"] if metric in target["accuracy"] and _p50_ms(target)]
    points = [(_p50_ms(target), target["accuracy"][metric]["mean"]) for target in targets]
    parts = [on_part(record, target, metric) for target in targets]
    whole = [point for point, part in zip(points, parts, strict=True) if not part]
    front = [one for one in sorted(whole) if all(other[1] < one[1] for other in whole if other[0] < one[0])]

    def draw(axes: Any) -> None:
        axes.plot(*zip(*front, strict=True), "--", color=INK, lw=1)
        for number, (target, (x, y), part) in enumerate(zip(targets, points, parts, strict=True)):
            entry = target["accuracy"][metric]
            low, high = entry["low"], entry["high"]
            reach = None if low is None or high is None else [[y - low], [high - y]]
            name = f"{target['name']}, on {part}" if part else target["name"]
            look = {"fmt": MARKERS[number % 8], "color": SERIES[number % 8], "ms": 7, "capsize": 3}
            axes.errorbar(x, y, reach, label=name, **look)
        axes.set(xlabel="median latency, ms", ylabel=metric)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))

    return svg(draw, f"{metric} against median latency of every target", len(targets)) if len(points) > 1 else None


def _p50_ms(target: TargetRecord) -> float:
    return target["serial"]["summary"].get("p50_s", 0.0) * 1000


def strips(record: Record, metric: str) -> str | None:
    """Every case's score, a strip a target; a case's points are joined, so that a loss on one case shows."""
    targets = [target for target in record["targets"] if metric in target["accuracy"]]
    cases = [
        case
        for case in (targets[0]["scores"] if targets else ())
        if all(metric in t["scores"].get(case, {}) for t in targets)
    ]

    def draw(axes: Any) -> None:
        values = np.array([[target["scores"][case][metric] for target in targets] for case in cases])
        for row in values:
            axes.plot(range(len(targets)), row, color=GRID, lw=0.8, zorder=1)
        for number, column in enumerate(values.T):
            spread = np.random.default_rng(number).uniform(-0.08, 0.08, len(column)) * (len(column) > 1)
            axes.scatter(number + spread, column, s=18, color=SERIES[number % 8], marker=MARKERS[number % 8], zorder=2)
        _name(axes, [target["name"] for target in targets])
        axes.set(ylabel=metric, xlim=(-0.5, len(targets) - 0.5))

    title = f"{metric} of each of {len(cases)} cases, by target"
    return svg(draw, title, _slant_lines(targets)) if len(cases) > 1 else None


def waterfall(steps: Sequence[ScoreChange]) -> str | None:
    """The score from step to step: each bar runs from the score that the step started from to its own."""
    scores = {step["target"]: step["score"] for step in steps}

    def draw(axes: Any) -> None:
        for number, step in enumerate(steps):
            before, after = scores[step.get("from", step["target"])], step["score"]
            axes.plot([number - 0.35, number + 0.35], [after, after], color=INK, lw=1.5)
            axes.bar(number, after - before, 0.6, before, color=SERIES[4 if after < before else 2])
            said = f"{after - before:+.4f}" if "from" in step else f"{after:.4f}"
            said = "0" if float(said) == 0 and "from" in step else said
            axes.annotate(said, (number, max(before, after)), (0, 3), textcoords="offset points", ha="center", size=8)
        _name(axes, [step["target"] for step in steps])
        axes.use_sticky_edges = False  # otherwise the lowest bar would have no room below
        axes.margins(y=0.15)
        low, high = axes.get_ylim()
        room = max(0.0, _LEAST_SPAN - (high - low)) / 2
        axes.set_ylim(low - room, high + room)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.set_axisbelow(True)
        axes.set(ylabel=steps[0]["metric"], xlim=(-0.6, len(steps) - 0.4))

    return svg(draw, "Score from change to change, a bar a target", _slant_lines(steps)) if len(steps) > 1 else None


def latencies(record: Record) -> str | None:
    """Every request's latency one at a time, a strip a target."""
    series = [(target["name"], _serial_ms(target)) for target in record["targets"] if _serial_ms(target)]

    def draw(axes: Any) -> None:
        for number, (_, values) in enumerate(series):
            places = number + np.linspace(-0.25, 0.25, len(values))
            axes.scatter(places, values, s=14, color=SERIES[number % 8], marker=MARKERS[number % 8])
        _name(axes, [name for name, _ in series])
        top = 1.08 * max(max(values) for _, values in series)  # the margin of a narrow range would clip its markers
        axes.set(ylabel="latency, ms", ylim=(0, top), xlim=(-0.5, len(series) - 0.5))

    title = "Latency of every request sent alone, in the order sent, by target"
    return svg(draw, title, _slant_lines(series)) if any(len(values) > 1 for _, values in series) else None


def _serial_ms(target: TargetRecord) -> list[float]:
    return [1000 * (row["done_s"] - row["intended_s"]) for row in target["serial"]["timings"] if row["error"] is None]


def _slant_lines(named: Sequence[Any]) -> int:
    """How many lines of a legend the names need if there are too many of them for a small slant."""
    return 6 if len(named) > _FEW else 0


def _name(axes: Any, names: Sequence[str]) -> None:
    """Name the x axis' places, slanted so that no name touches the next one's."""
    slant = 40 if len(names) > _FEW else 20
    axes.set_xticks(range(len(names)), names, rotation=slant, ha="right", rotation_mode="anchor", fontsize=9.5)


def svg(draw: Callable[[Any], None], title: str, legend_lines: int) -> str:
    """An SVG element of a drawing, 4.6 inches wide so that its text is readable on a phone; `title` is its alt text."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 3.0 + 0.17 * legend_lines), layout="constrained")
        draw(figure.subplots())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.S)
    for colour, variable in _variables():
        drawing = drawing.replace(colour, f"var(--{variable})")
    return drawing


def _variables() -> Sequence[tuple[str, str]]:
    return [(INK, "ink"), (GRID, "line"), *((colour, f"s{number}") for number, colour in enumerate(SERIES))]
