"""Tables: header and rows of what the report shows in Markdown and in HTML alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medseg.bench.measure.ledger import shown
from medseg.bench.record import (
    PERCENTILES,
    CheckRecord,
    LedgerRecord,
    LedgerRow,
    LevelRecord,
    MeanRecord,
    Record,
    ScoreChange,
    StageRecord,
    TargetRecord,
    UsageRecord,
    WaterfallRecord,
)
from medseg.bench.show.notes import best_per_s, counts, level_name, shown_metrics
from medseg.bench.show.voters import VoterRow, voter_rows


@dataclass(frozen=True)
class Cell:
    """A cell's text, and in HTML what it is sorted by (None: its text; empty: nothing, last) and how it looks."""

    text: str
    key: str | None = None
    soft: str = ""  # behind the text, in small print
    bad: bool = False

    def __str__(self) -> str:
        return self.text


OVERALL = "All cases together"
Table = tuple[list[str], list[list[str | Cell]]]


def number(value: float | None, form: str, soft: str = "") -> Cell:
    """A number in a format such as "{:.4f}", sorted by its value."""
    return Cell("-", "") if value is None else Cell(form.format(value), repr(float(value)), soft)


def time(value_s: float | None) -> Cell:
    """A time in the unit that reads best, sorted by its seconds."""
    return number(value_s, seconds(value_s))


def seconds(value: float | None) -> str:
    """A time with the unit that reads best."""
    if value is None:
        return "-"
    if value >= 1:
        return f"{value:.2f} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-4 or value == 0 else f"{value * 1e6:.2g} µs"


def target_rows(record: Record) -> Table:
    """A row a target: the first score, latency one at a time, the best throughput, and the other scores."""
    metrics = shown_metrics(record)
    middle = [*(f"p{quantile}" for quantile in PERCENTILES), "best throughput", "failed"]
    header = ["target", *metrics[:1], *middle, *metrics[1:], "first answer"]
    return header, [_target(target, metrics) for target in record["targets"]]


def _target(target: TargetRecord, metrics: Sequence[str]) -> list[str | Cell]:
    scores = [_score(target["accuracy"].get(name)) for name in metrics]
    times = [time(target["serial"]["summary"].get(f"p{quantile}_s")) for quantile in PERCENTILES]
    rate = number(best_per_s(target), "{:.3g}/s")
    return [target["name"], *scores[:1], *times, rate, _failed(*counts(target)), *scores[1:], time(target["first_s"])]


def _score(entry: MeanRecord | None) -> Cell:
    if entry is None:
        return Cell("-", "")
    band = "" if entry["low"] is None else f"({entry['low']:.3f} to {entry['high']:.3f})"
    return number(entry["mean"], "{:.4f}", band)


def _failed(requests: int, failed: int) -> Cell:
    return Cell(f"{failed} of {requests}", str(failed), bad=failed > 0)


def overall_rows(record: Record) -> Table:
    """What all cases have together and none by itself, a row a target; no rows where there is no such thing."""
    targets = record["targets"]
    rows = {name for target in targets for row in target["scores"].values() for name in row}
    names = list(dict.fromkeys(name for target in targets for name in target["accuracy"] if name not in rows))
    counts = list(dict.fromkeys(name for target in targets for name in target["counts"]))
    if not names and not counts:
        return ["target"], []
    return ["target", *names, *counts], [[target["name"], *_overall(target, names, counts)] for target in targets]


def _overall(target: TargetRecord, names: Sequence[str], counts: Sequence[str]) -> list[Cell]:
    return [
        *(_score(target["accuracy"].get(name)) for name in names),
        *(number(target["counts"].get(name), "{:.0f}") for name in counts),
    ]


def usage_rows(record: Record) -> Table:
    """A row a target: the memory it took, the load of other programs, and of a GPU memory and power."""
    used = [(target["name"], target["usage"]) for target in record["targets"] if target["usage"]]
    header = ["target", "client memory", "server memory", "others on the cores"]
    gpu = any(usage["peak_gpu_mib"] is not None for _, usage in used)
    return header + ["GPU memory", "GPU power"] * gpu, [[name, *_usage(usage, gpu)] for name, usage in used]


def _usage(usage: UsageRecord, gpu: bool) -> list[Cell]:
    peaks = usage["peak_client_mib"], usage["peak_server_mib"]
    memory = [number(peak or None, "{:.0f} MiB") for peak in peaks]
    watts = [number(usage["peak_gpu_mib"], "{:.0f} MiB"), number(usage["mean_gpu_watts"], "{:.0f} W")]
    return [*memory, number(usage["busy"], "{:.0%}"), *(watts if gpu else [])]


def check_rows(record: Record) -> Table:
    """The comparison with an earlier run, a row a check."""
    header = ["target", "what", "before", "now", "change", "95 % band", "limit", "verdict"]
    return header, [_check(check) for check in record["against"]["checks"]]


def _check(check: CheckRecord) -> list[str | Cell]:
    unit = check["unit"]
    values = [
        time(check[when]) if unit == "s" else number(check[when], f"{{:.4g}}{unit}") for when in ("before", "after")
    ]
    low, high = (_percent(check[end]) for end in ("low", "high"))
    band = Cell(f"{low} to {high}", low.key)
    verdict = Cell(check["verdict"], bad=check["verdict"] == "worse")
    change, limit = (_percent(check[name]) for name in ("change", "limit"))
    return [check["target"], check["what"], *values, change, band, limit, verdict]


def pair_rows(record: Record) -> Table:
    """Every target's scores minus the first target's, on the same cases."""
    header = ["target", "metric", "difference", "95 % interval", "cases"]
    metrics = shown_metrics(record)
    return header, [
        [target["name"], name, number(entry["mean"], "{:+.5f}"), _interval(entry, 5), number(entry["cases"], "{:.0f}")]
        for target in record["targets"]
        for name, entry in target["paired"].items()
        if name in metrics
    ]


def ledger_rows(book: LedgerRecord) -> Table:
    """Where the time of a request goes, a row a stage that carries some."""
    rows = shown(book["rows"])[0]
    return ["stage", "time", "share", "items"], [
        [row["stage"], time(row["seconds"]), number(row["share"], "{:.1%}"), _items(row)] for row in rows
    ]


def _items(row: LedgerRow) -> Cell:
    return number(row["items"], "{:.4g}") if row["items"] else Cell("", "")


def level_rows(target: TargetRecord) -> Table:
    """A row a level of load."""
    header = ["load", *(f"p{quantile}" for quantile in PERCENTILES), "throughput", "failed", "stable", "sent late, p99"]
    return header, [_level(level) for level in target["levels"]]


def _level(level: LevelRecord) -> list[str | Cell]:
    sums = level["summary"]
    times = [time(sums.get(f"p{quantile}_s")) for quantile in PERCENTILES]
    load, rate = Cell(level_name(level), str(level["load"])), number(level["per_s"], "{:.3g}/s")
    failed, stable = _failed(int(sums["requests"]), int(sums["errors"])), "yes" if level["stable"] else "no"
    late = time(None if level["mode"] == "closed" else sums.get("sent_late_p99_s"))  # an asker is never late
    return [load, *times, rate, failed, stable, late]


def score_change_rows(record: Record) -> Table:
    """Where the score went, a row a change, each from the target that differs least."""
    header = ["target", "what changed", "from", record["score_changes"][0]["metric"], "change", "95 % interval"]
    return header, [_score_change(step) for step in record["score_changes"]]


def _score_change(step: ScoreChange) -> list[str | Cell]:
    score, change = number(step["score"], "{:.4f}"), step.get("change")
    if not change:
        return [step["target"], "the start", "", score, Cell("", ""), Cell("", "")]
    changed = ", ".join(step["changed"])
    return [step["target"], changed, step["from"], score, _signed(change["mean"]), _interval(change, 4)]


def voter_table(record: Record) -> Table:
    """What each voter scores alone, adds to the vote, and costs, by target; no rows where nobody votes."""
    header = ["target", "voter", "Dice alone", "adds", "time", "asked in"]
    return header, [
        [target["name"], *_voter(row)] for target in record["targets"] for row in voter_rows(target, record["voters"])
    ]


def _voter(row: VoterRow) -> list[str | Cell]:
    asked = Cell(f"{row.asked} of {row.requests}", str(row.asked))
    adds = Cell("-", "") if row.adds is None else _signed(row.adds)
    return [row.name, number(row.alone, "{:.4f}"), adds, time(row.seconds), asked]


def stage_rows(found: WaterfallRecord) -> Table:
    """A network's waterfall, a row a file."""
    header = ["file", "engine", "Dice to torch", "Dice to the truth", "flipped", "lesions lost", "gained", "a sample"]
    return header, [_stage(stage) for stage in found["stages"]]


def _stage(stage: StageRecord) -> list[str | Cell]:
    names = [stage["file"], stage["engine"]]
    if stage["note"]:
        return [*names, Cell("not opened here", ""), *[Cell("", "")] * 5]
    scores = [number(score, "{:.5f}") for score in (stage["dice"], stage["truth_dice"])]
    changes = [number(count, "{:.0f}") for count in (stage["flipped"], stage["lost"], stage["gained"])]
    return [*names, *scores, *changes, time((stage["milliseconds"] or 0.0) / 1e3)]


def network_rows(record: Record) -> Table:
    """Each network alone, a row a batch size."""
    header = ["network", "engine", "precision", "batch", "p50", "an item", "items a second"]
    return header, [_network(target) for target in record["networks"]]


def _network(target: TargetRecord) -> list[str | Cell]:
    facts, middle_s = target["facts"], target["serial"]["summary"].get("p50_s")
    batch = float(facts["batch"] or 1)
    names = [str(facts[name]) for name in ("network", "engine", "precision")]
    item_s = middle_s and middle_s / batch
    return [*names, number(batch, "{:.0f}"), time(middle_s), time(item_s), number(item_s and 1 / item_s, "{:.3g}")]


def _interval(entry: MeanRecord, digits: int) -> Cell:
    """An interval's two ends, sorted by the lower one."""
    if entry["low"] is None or entry["high"] is None:
        return Cell("one case", "")
    low, high = (_signed(end, digits) for end in (entry["low"], entry["high"]))
    return Cell(f"{low} to {high}", low.key)


def _signed(change: float, digits: int = 4) -> Cell:
    """A change; one that rounds to nothing is +0.0000, never -0.0000."""
    return number(round(change, digits) + 0.0, f"{{:+.{digits}f}}")


def _percent(change: float) -> Cell:
    """A relative change; one that rounds to nothing is +0.0%, never -0.0%."""
    return Cell(f"{round(change, 3) + 0.0:+.1%}", repr(change))


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers, everything but the first column, to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
