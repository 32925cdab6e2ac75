"""Tables: header and rows of what the report shows in Markdown and in HTML alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from medseg.bench.measure.ledger import shown
from medseg.bench.record import (
    PERCENTILES,
    CheckRecord,
    LedgerRecord,
    LedgerRow,
    LevelRecord,
    Record,
    ScoreChange,
    Serial,
    StageRecord,
    Summary,
    TargetRecord,
    UsageRecord,
    WaterfallRecord,
)
from medseg.bench.show.cells import Cell, interval, number, percent, seconds, signed, table, time
from medseg.bench.show.notes import best_per_s, counts, level_name, on_part, shown_metrics
from medseg.bench.show.terms import is_count
from medseg.bench.show.voters import VoterRow, voter_rows

__all__ = ["seconds", "table", "time"]
OVERALL = "All cases together"
_ABREAST = 6  # scores of long names that fit side by side
Table = tuple[list[str], list[list[str | Cell]]]


def target_rows(record: Record) -> Table:
    """A row a target: the main score, latency one at a time, the best throughput, failures, the first answer."""
    metrics, quantiles = shown_metrics(record)[:1], told_quantiles(target["serial"] for target in record["targets"])
    header = ["target", *metrics, *(f"p{quantile}" for quantile in quantiles), "best throughput", "failed"]
    return [*header, "first answer"], [_target(target, record, quantiles) for target in record["targets"]]


def _target(target: TargetRecord, record: Record, quantiles: Sequence[int]) -> list[str | Cell]:
    scores = [_score(record, target, name) for name in shown_metrics(record)[:1]]
    rate = number(best_per_s(target), "{:.3g}/s")
    times = percentiles(target["serial"]["summary"], quantiles)
    return [target["name"], *scores, *times, rate, _failed(*counts(target)), time(target["first_s"])]


def score_rows(record: Record) -> Table:
    """A row a target: every score with its interval; no rows where there is none but the main one."""
    metrics = shown_metrics(record)
    if len(metrics) < 2:
        return ["target"], []
    scored = [target for target in record["targets"] if target["accuracy"]]
    return ["target", *metrics], [
        [target["name"], *(_score(record, target, name) for name in metrics)] for target in scored
    ]


def told_quantiles(measured: Iterable[Serial | LevelRecord]) -> list[int]:
    """The percentiles for which at least one target has enough requests: p99 needs 100 requests, p90 needs 10."""
    most = max((_answered(one["summary"]) for one in measured), default=0)
    return [quantile for quantile in PERCENTILES if _tells(most, quantile) or quantile == PERCENTILES[0]]


def percentiles(summary: Summary, quantiles: Sequence[int]) -> list[Cell]:
    """The latencies at these percentiles; with too few requests only the median, for a single request its time."""
    answered = _answered(summary)
    first = number(summary.get("p50_s"), seconds(summary.get("p50_s")), "one request" if answered == 1 else "")
    told = [time(summary.get(f"p{one}_s") if _tells(answered, one) else None) for one in quantiles[1:]]
    return [first, *told]


def _answered(summary: Summary) -> int:
    return int(summary["requests"] - summary["errors"])


def _tells(requests: int, quantile: int) -> bool:
    return requests * (100 - quantile) >= 100


def _score(record: Record, target: TargetRecord, metric: str) -> Cell:
    """A mean with its interval; counts have no more decimals than their mean needs."""
    entry, part = target["accuracy"].get(metric), on_part(record, target, metric)
    if entry is None:
        return Cell("-", "")
    form, ends = ("{:.4g}", "{:.3g}") if is_count(record, metric) else ("{:.4f}", "{:.3f}")
    low, high = entry["low"], entry["high"]
    band = "" if low is None or high is None else f"({ends.format(low)} to {ends.format(high)})"
    return number(entry["mean"], f"{form} on {part}" if part else form, band)


def _failed(requests: int, failed: int) -> Cell:
    return Cell(f"{failed} of {requests}", str(failed), bad=failed > 0)


def overall_rows(record: Record) -> Table:
    """Scores that are computed over all cases together; no rows where there are none.

    A row a target; with many scores, which would not fit on a page side by side, a row a score.
    """
    targets = record["targets"]
    by_case = {name for target in targets for row in target["scores"].values() for name in row}
    names = list(dict.fromkeys(name for target in targets for name in target["accuracy"] if name not in by_case))
    counts = list(dict.fromkeys(name for target in targets for name in target["counts"]))
    columns: dict[str, list[Cell]] = {
        **{name: [_score(record, target, name) for target in targets] for name in names},
        **{name: [number(target["counts"].get(name), "{:.0f}") for target in targets] for name in counts},
    }
    named = [target["name"] for target in targets]
    if not columns:
        return ["target"], []
    if len(columns) > _ABREAST:
        return ["score", *named], [[name, *cells] for name, cells in columns.items()]
    rows = zip(*columns.values(), strict=True)
    return ["target", *columns], [[name, *cells] for name, cells in zip(named, rows, strict=True)]


def usage_rows(record: Record) -> Table:
    """A row a target: its memory, the load of other programs, and a GPU's memory and power."""
    used = [(target["name"], target["usage"]) for target in record["targets"] if target["usage"]]
    header = ["target", "client memory", "server memory", "other programs"]
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
    low, high = (percent(check[end]) for end in ("low", "high"))
    band = Cell(f"{low} to {high}", low.key)
    verdict = Cell(check["verdict"], bad=check["verdict"] == "worse")
    change, limit = (percent(check[name]) for name in ("change", "limit"))
    return [check["target"], check["what"], *values, change, band, limit, verdict]


def pair_rows(record: Record) -> Table:
    """Every target's scores minus the first target's, on the same cases."""
    header = ["target", "metric", "difference", "95 % interval", "cases"]
    metrics = shown_metrics(record)
    return header, [
        [target["name"], name, number(entry["mean"], "{:+.5f}"), interval(entry, 5), number(entry["cases"], "{:.0f}")]
        for target in record["targets"]
        for name, entry in target["paired"].items()
        if name in metrics
    ]


def ledger_rows(book: LedgerRecord) -> Table:
    """Where the time of a request goes, a row for each stage that takes time."""
    rows = shown(book["rows"])[0]
    return ["stage", "time", "share", "items"], [
        [row["stage"], time(row["seconds"]), number(row["share"], "{:.1%}"), _items(row)] for row in rows
    ]


def _items(row: LedgerRow) -> Cell:
    return number(row["items"], "{:.4g}") if row["items"] else Cell("", "")


def level_rows(target: TargetRecord) -> Table:
    """A row a level of load."""
    quantiles = told_quantiles(target["levels"])
    header = ["load", *(f"p{quantile}" for quantile in quantiles), "throughput", "failed", "stable", "sent late, p99"]
    return header, [_level(level, quantiles) for level in target["levels"]]


def _level(level: LevelRecord, quantiles: Sequence[int]) -> list[str | Cell]:
    sums = level["summary"]
    times = percentiles(sums, quantiles)
    load, rate = Cell(level_name(level), str(level["load"])), number(level["per_s"], "{:.3g}/s")
    failed, stable = _failed(int(sums["requests"]), int(sums["errors"])), "yes" if level["stable"] else "no"
    late = time(
        None if level["mode"] == "closed" else sums.get("sent_late_p99_s")
    )  # a client of a closed loop is never late
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
    return [step["target"], changed, step["from"], score, signed(change["mean"]), interval(change, 4)]


def voter_table(record: Record) -> Table:
    """Each voter's own score, what it adds to the vote, and its time, by target; no rows where no networks vote."""
    header = ["target", "voter", "Dice alone", "adds", "time", "asked in"]
    return header, [
        [target["name"], *_voter(row)] for target in record["targets"] for row in voter_rows(target, record["voters"])
    ]


def _voter(row: VoterRow) -> list[str | Cell]:
    asked = Cell(f"{row.asked} of {row.requests}", str(row.asked))
    adds = Cell("-", "") if row.adds is None else signed(row.adds)
    return [row.name, number(row.alone, "{:.4f}"), adds, time(row.seconds), asked]


def stage_rows(found: WaterfallRecord) -> Table:
    """A network's waterfall, a row a file."""
    header = [
        "file",
        "engine",
        "Dice to torch",
        "Dice against the truth",
        "flipped",
        "lesions lost",
        "gained",
        "a sample",
    ]
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
