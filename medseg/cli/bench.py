"""`medseg bench`: speed and score of every engine and precision on the same cases, and where the time goes."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from medseg.cli import words
from medseg.cli.bench_search import Search, found
from medseg.cli.groups import grouped
from medseg.cli.options import JsonOption, NoVerifyOption, RunsOption
from medseg.cli.words import each

if TYPE_CHECKING:
    from medseg.bench.benchmark import Settings
    from medseg.bench.command import Beside
    from medseg.bench.lineup import Entry
    from medseg.bench.record import Record
    from medseg.bench.search import Load
    from medseg.run import Run
    from medseg.task import Task


@dataclass(frozen=True)
class Targets:
    """What is compared."""

    url: Annotated[list[str] | None, typer.Option(help="A server, such as grpc://localhost:8001.")] = None
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help="Engines to compare. [default: see docs/bench.md]",
            callback=each(words.known_engine),
            autocompletion=words.engines,
        ),
    ] = None
    precision: Annotated[
        list[str] | None,
        typer.Option(
            help="Precisions to compare. [default: all that the runs hold]",
            callback=each(words.known_precision),
            autocompletion=words.precisions,
        ),
    ] = None
    where: Annotated[list[str] | None, typer.Option(help="local or served. [default: both]")] = None
    decoder: Annotated[str, typer.Option(help="What decodes pictures on the server: dali or reference.")] = "dali"
    shared_memory: Annotated[
        bool, typer.Option("--shared-memory", help="Also measure each served target with its inputs in shared memory.")
    ] = False
    early_exit: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="With three voters: also measure a vote that asks the third only if the first two differ "
            "by more than this share.",
        ),
    ] = None
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Also measure each network alone with this batch size.")
    ] = None


@dataclass(frozen=True)
class Effort:
    """How long and how hard they are measured."""

    concurrency: Annotated[
        list[int] | None, typer.Option(min=1, help="How many requests at once; may be given several times.")
    ] = None
    rate: Annotated[list[float] | None, typer.Option(help="Requests per second, sent when due.")] = None
    arrivals: Annotated[str, typer.Option(help="poisson or constant, for --rate.")] = "poisson"
    cases: Annotated[int | None, typer.Option(min=1, help="Use only this many cases, the first ones.")] = None
    timeout: Annotated[float, typer.Option(help="Seconds after which a request counts as failed.")] = 120.0
    quick: Annotated[bool, typer.Option("--quick", help="One round over at most 8 cases, short levels.")] = False
    waterfall: Annotated[
        bool, typer.Option("--waterfall", help="Compare every file of each network with torch, even with --quick.")
    ] = False


@dataclass(frozen=True)
class Report:
    """What becomes of it."""

    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder for bench.json and the report.")] = Path("bench")
    against: Annotated[Path | None, typer.Option(help="An earlier bench.json to compare with.")] = None
    fail_on: Annotated[
        str | None,
        typer.Option(help="The limits of --against. [default: score:-0.1%,p50:+10%; without truth p50:+10%]"),
    ] = None
    merge: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE...",
            help="Measure nothing: make one report of these bench.json files, which have the same cases.",
        ),
    ] = None
    history: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE...", help="Measure nothing: make a page that shows these bench.json files over time."
        ),
    ] = None
    json: JsonOption = False


@grouped
def bench(
    targets: Targets,
    effort: Effort,
    report: Report,
    search: Search,
    task: Annotated[
        str | None,
        typer.Argument(
            help="The task; `medseg info` lists them.", callback=each(words.known_task), autocompletion=words.tasks
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA", help="A folder in the task's own layout, or one file.", callback=each(words.there)
        ),
    ] = None,
    run: RunsOption = None,
    no_verify: NoVerifyOption = False,
) -> None:
    """Measure latency, throughput and score, and write a report.

    The exit code is 1 if a request failed, something got worse, or Ctrl-C ended it early; the report is still written.

    Example: medseg bench luna ct.mhd --run runs/segment --run runs/nodule --precision fp32 --precision fp16 --out bench

    Example: medseg bench --merge here/bench.json there/bench.json --out both
    """
    if report.merge or report.history:
        _told(report)
        return
    from medseg.api.predictor import served_as
    from medseg.bench.cases import made_up
    from medseg.bench.command import measured
    from medseg.bench.show.report import bad, with_comparison, write_report
    from medseg.bench.stored import check_new
    from medseg.run import Run
    from medseg.tasks import task_as

    Run.verify = not no_verify
    settings = _settings(effort)
    task = _asked(task, run, targets, search)
    before, limits = _earlier(report)
    check_new(report.out / "bench.json")
    runs = [Run(path) for path in run or []]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a time limit's `kill` leaves a report as Ctrl-C does
    if search.search:
        typer.echo(found(search, task, runs, data, report.out, _load(targets, effort))[report.json].read_text())
        return
    subject = task_as(task, runs) if runs else served_as(task, (targets.url or [])[0])
    entries = _entries(subject, runs, targets, effort.quick)
    folder = data or made_up(subject, report.out / "phantom")
    record = measured(subject, runs, entries, folder, settings, _beside(targets, effort))
    try:
        record = with_comparison(record, before, limits) if before else record
    finally:  # what was measured is not lost where it cannot be compared
        written = write_report(report.out, record)
    typer.echo((report.out / "bench.json" if report.json else report.out / "report.md").read_text())
    typer.echo(f"report: {written}", err=True)
    raise typer.Exit(bad(record))


def _asked(task: str | None, run: Sequence[Path] | None, targets: Targets, search: Search) -> str:
    """The task. Raises InputError where options do not go together."""
    from medseg.errors import InputError

    if task is None:
        raise InputError("`medseg bench` got no task; expected one, or --merge or --history with bench.json files")
    if not search.search and (search.p95 or search.memory):
        raise InputError("--p95 and --memory are limits of a search; expected --search with them: add it")
    if bool(run) == bool(targets.url):
        raise InputError("--run and --url: got both or neither; expected runs to open, or a server to ask")
    return task


def _load(targets: Targets, effort: Effort) -> Load:
    """What a search asks at once, which engines it tries, and how long it waits."""
    from medseg.bench.search import Load

    return Load((effort.concurrency or [Load.at_once])[0], targets.engine or Load.engines, effort.timeout)


def _told(report: Report) -> None:
    """One report of several benchmarks, or their history."""
    from medseg.bench.merge import merged
    from medseg.bench.show.history import write_history
    from medseg.bench.show.report import write_report
    from medseg.bench.stored import check_new

    if report.history:
        typer.echo(f"history: {write_history(report.history, report.out)}", err=True)
    if report.merge:
        check_new(report.out / "bench.json")
        written = write_report(report.out, merged(report.merge))
        typer.echo((report.out / ("bench.json" if report.json else "report.md")).read_text())
        typer.echo(f"report: {written}", err=True)


class SeveralFiles(TyperCommand):
    """A command whose --merge and --history take all the files that follow them."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual, after each of those files got its own option."""
        return super().parse_args(ctx, [*_each_its_own(args)])


def _each_its_own(args: Sequence[str]) -> Iterator[str]:
    option = before = ""
    for word in args:
        if word.startswith("-"):
            option = word if word in ("--merge", "--history") else ""
        elif option and before != option:
            yield option
        before = word
        yield word


def _settings(effort: Effort) -> Settings:
    from dataclasses import replace

    from medseg.bench.benchmark import Settings
    from medseg.bench.measure.load import ARRIVALS, QUICK, Plan
    from medseg.bench.measure.rounds import Loads
    from medseg.errors import InputError

    rates, arrivals = effort.rate or [], effort.arrivals
    if arrivals not in ARRIVALS or min(rates, default=1.0) <= 0:
        raise InputError(
            f"--rate is {effort.rate} and --arrivals {arrivals!r}; expected a positive rate, poisson or constant"
        )
    plan = replace(QUICK if effort.quick else Plan(), timeout_s=effort.timeout)
    return Settings(plan, Loads(effort.concurrency or (), rates, arrivals))


def _earlier(report: Report) -> tuple[Record | None, dict[str, float]]:
    """The earlier run, if one was given to compare with, and the limits; it must have every metric that they name."""
    from medseg.bench.judge.limits import check_limits, limits_from, usual_limits
    from medseg.bench.stored import read_json

    limits = {} if report.fail_on is None else limits_from(report.fail_on)
    if report.against is None:
        return None, limits
    before = read_json(report.against)
    limits = limits or usual_limits(before)
    check_limits(limits, before)
    return before, limits


def _entries(task: Task, runs: list[Run], targets: Targets, quick: bool) -> list[Entry]:
    """The targets by engine, precision and place (the usual ones where none are given), with the variants of each."""
    from dataclasses import replace

    from medseg.bench.lineup import WHERE, entries, held, usual, with_variants
    from medseg.bench.measure.early_exit import voters
    from medseg.engines import CPU_DEFAULT
    from medseg.errors import InputError

    count = len(voters(task.pipeline))
    if targets.early_exit is not None and count != 3:
        raise InputError(
            f"--early-exit belongs to three networks that vote; task {task.name!r} has {count} that do: leave it out"
        )
    if not runs:
        return []
    if targets.engine or targets.precision or targets.where:
        chosen = entries(targets.engine or [CPU_DEFAULT], targets.precision or held(runs), targets.where or WHERE)
    else:
        chosen = usual(runs, quick)
    chosen = [replace(entry, decoder=targets.decoder) for entry in chosen]
    return with_variants(chosen, targets.shared_memory, targets.early_exit)


def _beside(targets: Targets, effort: Effort) -> Beside:
    from medseg.bench.command import QUICK_CASES, Beside

    cases = effort.cases or (QUICK_CASES if effort.quick else None)
    return Beside(targets.url or (), targets.batch or (), cases, effort.waterfall or not effort.quick)
