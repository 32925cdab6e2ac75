"""Tables: header and rows of what the report shows in Markdown and in HTML alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medseg.bench.record import Record
from medseg.bench.voting import voter_rows

Table = tuple[list[str], list[list[str]]]


def hop_rows(record: Record) -> Table:
    """Where the score went, a row a change, each from the target that differs least."""
    header = ["target", "what changed", "from", record["hops"][0]["metric"], "change", "95 % interval"]
    return header, [_hop(hop) for hop in record["hops"]]


def _hop(hop: Record) -> list[str]:
    change = hop.get("change")
    if not change:
        return [hop["target"], "the start", "", f"{hop['score']:.4f}", "", ""]
    reach = "one case" if change["low"] is None else f"{_signed(change['low'])} to {_signed(change['high'])}"
    changed = ", ".join(hop["changed"])
    return [hop["target"], changed, hop["from"], f"{hop['score']:.4f}", _signed(change["mean"]), reach]


def voter_table(record: Record) -> Table:
    """What each voter scores alone, adds to the vote, and costs, by target; no rows where nobody votes."""
    header = ["target", "voter", "Dice alone", "adds", "time", "asked in"]
    lines = [[target["name"], *_voter(row)] for target in record["targets"] for row in voter_rows(target)]
    return header, lines


def _voter(row: Record) -> list[str]:
    asked = f"{row['asked']} of {row['requests']}"
    alone = "-" if row["alone"] is None else f"{row['alone']:.4f}"
    adds = "-" if row["adds"] is None else _signed(row["adds"])
    return [row["name"], alone, adds, seconds(row["seconds"]), asked]


def stage_rows(found: Record) -> Table:
    """A network's waterfall, a row a file."""
    header = ["file", "engine", "Dice to torch", "flipped", "lesions lost", "gained", "a sample"]
    return header, [_stage(stage) for stage in found["stages"]]


def _stage(stage: Record) -> list[str]:
    if stage["note"]:
        return [stage["file"], stage["engine"], "not opened here", "", "", "", ""]
    counts = [str(stage[name]) for name in ("flipped", "lost", "gained")]
    return [stage["file"], stage["engine"], f"{stage['dice']:.5f}", *counts, seconds(stage["milliseconds"] / 1e3)]


def network_rows(record: Record) -> Table:
    """Each network alone, a row a batch size."""
    header = ["network", "engine", "precision", "batch", "p50", "an item", "items a second"]
    return header, [_network(target) for target in record["networks"]]


def _network(target: Record) -> list[str]:
    facts, middle_s = target["facts"], target["serial"]["summary"].get("p50_s")
    names = [facts["network"], facts["engine"], facts["precision"], str(facts["batch"])]
    rate = f"{facts['batch'] / middle_s:.3g}" if middle_s else "-"
    return [*names, seconds(middle_s), seconds(middle_s and middle_s / facts["batch"]), rate]


def _signed(change: float) -> str:
    """A change with four digits; one that rounds to nothing is +0.0000, never -0.0000."""
    return f"{round(change, 4) + 0.0:+.4f}"


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
