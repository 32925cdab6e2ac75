"""Searched: the result of a search, as Markdown and as a command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from medseg.bench.lineup import Entry
from medseg.bench.search import Searched, Way
from medseg.bench.show.cells import seconds, table


def command(task: str, runs: Sequence[Path], entry: Entry) -> str:
    """The command that serves a task this way."""
    networks = [word for run in runs for word in ("--run", str(run))]
    how = ["--engine", entry.engine, "--precision", entry.precision, "--decoder", entry.decoder]
    return shlex.join(["medseg", "serve", task, *networks, *how, "--instances", str(entry.instances)])


def markdown(task: str, runs: Sequence[Path], load: int, found: Searched) -> str:
    """The best way and its command, the Pareto front, the other ways, and what was left out."""
    parts = [f"# medseg bench {task}: how to serve it, {load} requests at once", _best(task, runs, found)]
    front = found.front
    rest = [way for way in found.ways if way not in front]
    parts += [_ways("The Pareto front: none is better in everything", front), _ways("The others", rest)]
    if found.left_out:
        lines = [f"- {name}: {why}" for name, why in found.left_out.items()]
        parts.append("## Left out\n\n" + "\n".join(lines))
    return "\n\n".join(filter(None, parts)) + "\n"


def _best(task: str, runs: Sequence[Path], found: Searched) -> str:
    if found.best is None:
        nearest = (
            f" The nearest is {found.ways[0].entry.name}: {'; '.join(found.ways[0].beyond)}." if found.ways else ""
        )
        return f"Nothing holds the limits.{nearest}"
    best = found.best
    said = f"Take {best.entry.name}: {best.per_s:.3g} answers a second, p95 {seconds(best.p95_s)}."
    return f"{said}\n\n```sh\n{command(task, runs, best.entry)}\n```"


def _ways(title: str, ways: Sequence[Way]) -> str:
    if not ways:
        return ""
    header = ["way", "answers/s", "p95", "server, MiB", "score", "measured", "limits"]
    rows = [
        [
            way.entry.name,
            f"{way.per_s:.3g}",
            seconds(way.p95_s),
            f"{way.memory_mib:.0f}",
            "-" if way.score is None else f"{way.score:.4f}",
            "whole" if way.whole else "briefly",
            "; ".join(way.beyond) or "held",
        ]
        for way in ways
    ]
    return f"## {title}\n\n{table(header, rows)}"
