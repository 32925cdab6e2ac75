"""`medseg batch`: a whole archive, on one machine or many, with a ledger of what became of each case."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.groups import grouped
from medseg.cli.options import EngineOption, JsonOption, NoVerifyOption, PrecisionOption, RunsOption, TaskArgument
from medseg.cli.task_options import own

if TYPE_CHECKING:
    from medseg.cohort.batch import Rules
    from medseg.cohort.command import Summary
    from medseg.task import Task


@dataclass(frozen=True)
class WorkerOptions:
    """Who does the work, and where."""

    address: Annotated[
        str, typer.Option(help="local: processes here; auto or ray://HOST:10001: a Ray cluster (medseg[ray]).")
    ] = "local"
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many workers. [default: one per GPU, --url or node; otherwise here 1 for volumes, and for "
            "pictures one per core, at most 8]",
        ),
    ] = None
    gpus: Annotated[int, typer.Option(min=0, help="How many GPUs; each worker has one.")] = 0
    url: Annotated[
        list[str] | None, typer.Option(help="A running server instead of --run; give several to share the work.")
    ] = None
    concurrency: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many cases each worker infers at a time. [default: 1 volume, or one picture per core]"
        ),
    ] = None
    metrics_port: Annotated[
        int | None, typer.Option(help="Offer the progress to Prometheus on this port of 127.0.0.1.")
    ] = None
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="The price of an hour of all workers together, for the report.")
    ] = None


@dataclass(frozen=True)
class CaseOptions:
    """What becomes of one case."""

    retry: Annotated[
        int, typer.Option(min=0, help="How often a failed case is tried again, on another worker if possible.")
    ] = 2
    timeout: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds of work on one case after which it counts as hanging.")
    ] = None
    fast: Annotated[
        bool, typer.Option("--fast", help="Recognise inputs by size and modification time, without their sha256.")
    ] = False
    no_arrays: Annotated[
        bool, typer.Option("--no-arrays", help="Write no answer.npz, which `evaluate --cohort` needs for scores.")
    ] = False
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Start from the beginning: delete the earlier ledger and answers in --out."),
    ] = False


@dataclass(frozen=True)
class PartOptions:
    """Parts of a cohort, and where their ledgers lie."""

    shard: Annotated[str | None, typer.Option(help="Answer only this part of the cases, such as 2/8.")] = None
    merge: Annotated[
        bool, typer.Option("--merge", help="Only join the ledgers of all shards; no case is answered.")
    ] = False
    ledger: Annotated[Path | None, typer.Option(help="The folder for manifest.jsonl if --out is an address.")] = None


@grouped
def batch(
    ctx: typer.Context,
    task: TaskArgument,
    out: Annotated[str, typer.Option(help="The folder for answers and manifest.jsonl; or an address, with --ledger.")],
    workers: WorkerOptions,
    cases: CaseOptions,
    parts: PartOptions,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT...",
            help="Files, folders, patterns with *, s3:// gs:// http(s):// addresses, lists (.csv, .jsonl, .parquet).",
        ),
    ] = None,
    run: RunsOption = None,
    engine: EngineOption = "openvino",
    precision: PrecisionOption = "fp32",
    no_verify: NoVerifyOption = False,
    json: JsonOption = False,
) -> None:
    """Answer a whole archive. If given again, it continues: finished cases stay, failed ones are tried again.

    Example: medseg batch luna /archive --run runs/segment --run runs/nodule --out answers --timeout 600

    Example: medseg batch stas slides.csv --run runs/stas --out answers --address auto --workers 8
    """
    from medseg.cohort.case import Work
    from medseg.cohort.command import carried_out, joined, where
    from medseg.cohort.pools import Workers

    place = where(out, parts.ledger, workers.metrics_port)
    if parts.merge:
        _print(joined(place), json)
        return
    subject = _subject(task, run, workers.url)
    asked = own(subject, ctx)
    work = Work(
        task,
        "",
        tuple(str(path.absolute()) for path in run or ()),
        engine=engine,
        precision=precision,
        options=asked.options,
        extras=asked.extras,
        reading=asked.reading,
        concurrency=workers.concurrency,
        verify=not no_verify,
        fast=cases.fast,
        arrays=not cases.no_arrays,
        upload=place.url,
    )
    pool = Workers(workers.address, workers.workers, workers.gpus, tuple(workers.url or ()), cases.timeout)
    _print(carried_out(subject, inputs or [], place, (work, pool), _rules(workers, cases, parts)), json)


def _subject(task: str, runs: list[Path] | None, urls: list[str] | None) -> Task:
    """The task, as its runs or its first server describe it where they do."""
    from medseg.api.predictor import served_as
    from medseg.run import Run
    from medseg.tasks import task_as, task_named

    subject = task_named(task)
    if not subject.described or bool(runs) == bool(urls):  # which is refused in its own words
        return subject
    return served_as(task, urls[0]) if urls else task_as(task, [Run(path) for path in runs or ()])


def _rules(workers: WorkerOptions, cases: CaseOptions, parts: PartOptions) -> Rules:
    from medseg.cohort.batch import Rules
    from medseg.cohort.shards import shard_from

    session = {"address": workers.address, "workers": workers.workers, "gpus": workers.gpus}
    price = {} if workers.price_per_hour is None else {"price_per_hour": workers.price_per_hour}
    return Rules(cases.retry, shard_from(parts.shard), cases.restart, session | price)


def _print(summary: Summary, json: bool) -> None:
    """Print the counts. Raises InputError where cases failed, because they must not be overlooked."""
    from dataclasses import asdict
    from json import dumps

    from medseg.errors import InputError

    if json:
        typer.echo(dumps(asdict(summary), indent=2))
    else:
        typer.echo(f"{summary.cases} cases: {summary.done} done, {summary.failed} failed, {summary.skipped} skipped")
        typer.echo("\n".join(summary.files))
    if summary.failed:
        raise InputError(
            f"{summary.failed} of {summary.cases} cases failed; each has its own error in {summary.files[0]}: the same "
            "command tries them again"
        )
