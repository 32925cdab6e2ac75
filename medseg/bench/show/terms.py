"""Terms: what the words above a report's columns mean, and in which unit, shown where one points, taps or tabs."""

from __future__ import annotations

from collections.abc import Mapping

from medseg.bench.record import Record
from medseg.errors import MedsegError
from medseg.metrics.definitions import COUNT, Metric, metric_of

_WORDS = {
    "target": "an engine and a precision, in this process (local) or on a server (served)",
    "requests": "how many requests were timed one at a time",
    "p50": "the median latency: half of the requests took no longer",
    "p90": "the latency that nine of ten requests did not exceed; shown from 10 requests on",
    "p95": "the latency that 19 of 20 requests did not exceed; shown from 20 requests on",
    "p99": "the latency that 99 of 100 requests did not exceed; shown from 100 requests on",
    "best throughput": "answers per second at the best of all levels of load",
    "throughput": "answers per second",
    "failed": "requests without an answer, of all that were timed",
    "first answer": "the latency of the very first request, cold",
    "load": "how many requests are under way at once, or how many are sent a second",
    "stable": "whether the last windows of time agree, so that the numbers are those of a steady state",
    "sent late, p99": "how late requests left the client, which then counts as latency; 99 of 100 left sooner",
    "items": "how many inputs the network was given within one request",
    "share": "of the whole request",
    "stage": "a step of the pipeline, or what lies between steps",
    "client memory": "the largest resident memory of the process that asks",
    "server memory": "the largest resident memory of the server's processes",
    "others on the cores": "how much of the cores other programs used meanwhile",
    "difference": "this target's score minus the first target's, on the same cases",
    "change": "relative to before",
    "flipped": "voxels or pixels that are another class than with torch",
    "lesions lost": "connected pieces, or findings, that torch has and this file has not",
    "gained": "connected pieces, or findings, that this file has and torch has not",
    "adds": "the vote's Dice minus that of the other two where both agree",
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
