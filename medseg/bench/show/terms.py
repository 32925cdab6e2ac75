"""Terms: what a report's column names mean, and their units; shown when a reader hovers, taps or tabs to one."""

from __future__ import annotations

from collections.abc import Mapping

from medseg.bench.record import Record
from medseg.errors import MedsegError
from medseg.metrics.definitions import COUNT, Metric, metric_of

_WORDS = {
    "target": "an engine and a precision, in this process (local) or on a server (served)",
    "requests": "how many requests were timed one at a time",
    "p50": "the median latency: half of the requests took no longer",
    "p90": "nine of ten requests took no longer; shown if there are at least 10 requests",
    "p95": "19 of 20 requests took no longer; shown if there are at least 20 requests",
    "p99": "99 of 100 requests took no longer; shown if there are at least 100 requests",
    "best throughput": "answers per second at the best of all levels of load",
    "throughput": "answers per second",
    "failed": "requests without an answer, of all that were timed",
    "first answer": "the latency of the very first request, before anything is warm",
    "load": "how many requests are being answered at the same time, or how many are sent per second",
    "stable": "whether the last time windows agree, so that the numbers describe a steady state",
    "sent late, p99": "how late the client sent requests (this counts as latency); 99 of 100 were sent sooner",
    "items": "how many inputs the network was given within one request",
    "share": "of the whole request",
    "stage": "a step of the pipeline, or the time between steps",
    "client memory": "the largest resident memory of the client's process",
    "server memory": "the largest resident memory of the server's processes",
    "other programs": "the share of the cores that other programs used during the measurement",
    "difference": "this target's score minus the first target's, on the same cases",
    "score": "computed over all cases together",
    "change": "relative to before",
    "flipped": "voxels or pixels whose class differs from torch's",
    "lesions lost": "connected components, or findings, that torch has and this file does not have",
    "gained": "connected components, or findings, that this file has and torch does not have",
    "adds": "the vote's Dice minus the Dice of what both other voters mark",
}


def metrics_of(record: Record) -> tuple[Metric, ...]:
    """The definitions of the task's scores; none where this medseg does not know the task."""
    from medseg.tasks import task_named

    try:
        scoring = task_named(record["task"]).scoring
    except MedsegError:
        return ()
    return tuple(scoring.metrics) if scoring else ()


def terms(record: Record) -> Mapping[str, str]:
    """What each column's word means: the report's own words, and the task's scores with their units."""
    found = {}
    metrics = metrics_of(record)
    for name in {key for target in record["targets"] for key in (*target["accuracy"], *target["counts"])}:
        if metric := metric_of(metrics, name):
            better = f", {metric.better} is better" if metric.better != "-" else ""
            found[name] = f"{metric.meaning} ({metric.unit}{better})"
    return _WORDS | found


def is_count(record: Record, name: str) -> bool:
    """Whether a score is a number of things, which has no decimals."""
    metric = metric_of(metrics_of(record), name)
    return metric is not None and metric.unit == COUNT
