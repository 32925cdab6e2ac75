"""`medseg bench`: speed and score of every engine and precision on the same cases, and where the time goes."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.options import NoVerifyOption, RunsOption, TaskArgument

if TYPE_CHECKING:
    from medseg.bench.lineup import Entry, Write
    from medseg.bench.record import Record
    from medseg.run import Run
    from medseg.task import Task


def bench(  # every option of the command is an argument here
    task: TaskArgument,
    data: Annotated[Path | None, typer.Argument(help="A folder in the task's own layout, or one file.")] = None,
    run: RunsOption = None,
    url: Annotated[list[str] | None, typer.Option(help="A server, such as grpc://localhost:8001.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Engines to compare; see docs/bench.md if absent.")] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="Precisions to compare; all that the runs hold if absent.")
    ] = None,
    where: Annotated[list[str] | None, typer.Option(help="local, served; both if absent.")] = None,
    decoder: Annotated[str, typer.Option(help="What decodes on the server: dali or reference.")] = "dali",
    shared_memory: Annotated[
        bool, typer.Option("--shared-memory", help="Also each served target with its inputs in shared memory.")
    ] = False,
    early_exit: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="stas: also the vote that asks the third network only where two differ more."),
    ] = None,
    batch: Annotated[list[int] | None, typer.Option(min=1, help="Also each network alone at this batch size.")] = None,
    concurrency: Annotated[list[int] | None, typer.Option(min=1, help="How many requests at once; repeatable.")] = None,
    rate: Annotated[list[float] | None, typer.Option(help="Requests per second, sent when due.")] = None,
    arrivals: Annotated[str, typer.Option(help="poisson or constant, for --rate.")] = "poisson",
    cases: Annotated[int | None, typer.Option(min=1, help="Use only the first cases.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds after which a request counts as failed.")] = 120.0,
    quick: Annotated[bool, typer.Option("--quick", help="One round over at most 8 cases, short levels.")] = False,
    waterfall: Annotated[
        bool, typer.Option("--waterfall", help="With --quick too, every file of each network beside torch.")
    ] = False,
    no_verify: NoVerifyOption = False,
    out: Annotated[Path, typer.Option(help="The folder for bench.json and the report.")] = Path("bench"),
    against: Annotated[Path | None, typer.Option(help="An earlier bench.json to compare with.")] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(help="What --against fails on; score:-0.1%,p50:+10% if absent, without truth p50 alone."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print bench.json instead of tables.")] = False,
) -> None:
    """Measure latency, throughput and score, and write a report.

    Exits with 1 where a request failed, --against found something worse, or Ctrl-C ended it early; the report is
    written all the same.

    Example: medseg bench luna ct.mhd --run runs/segment --run runs/nodule --precision fp32 --precision fp16 --out bench
    """
    from dataclasses import replace

    from medseg.bench.batches import batches
    from medseg.bench.benchmark import Extras, Settings, benchmark
    from medseg.bench.cases import cases_of, made_up
    from medseg.bench.lineup import lineup, remote
    from medseg.bench.load import ARRIVALS, QUICK, Plan
    from medseg.bench.measure import Loads
    from medseg.bench.record import check_new
    from medseg.bench.report import bad, with_comparison, write_report
    from medseg.errors import InputError
    from medseg.run import Run
    from medseg.tasks import task_named

    Run.verify = not no_verify
    if arrivals not in ARRIVALS or min(rate or [1.0]) <= 0:
        raise InputError(f"--rate is {rate} and --arrivals {arrivals!r}; expected a positive rate, poisson or constant")
    if bool(run) == bool(url):
        raise InputError("--run and --url: got both or neither; expected runs to open, or a server to ask")
    before, limits = _earlier(against, fail_on)
    check_new(out / "bench.json")
    runs = [Run(path) for path in run or []]
    subject = task_named(task).answered_by([one.network for one in runs]) if runs else task_named(task)
    wanted = _entries(runs, (engine, precision, where), quick)
    wanted = _variants(subject, wanted, decoder, shared_memory, early_exit)
    folder = data or made_up(subject, out / "phantom")
    asked = cases_of(subject, folder)[: cases or (8 if quick else None)]
    openings = lineup(subject, runs, wanted, _writer(subject, run or []), timeout)
    openings += [remote(subject, address, timeout) for address in url or []]
    plan = replace(QUICK if quick else Plan(), timeout_s=timeout)
    settings = Settings(plan, Loads(concurrency or (), rate or (), arrivals), _say)
    alone = batches(subject, runs, wanted, batch or ())
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a time limit's `kill` leaves a report as Ctrl-C does
    record = benchmark(subject, openings, asked, settings, Extras(runs, folder, alone, waterfall or not quick))
    try:
        record = with_comparison(record, before, limits) if before else record
    finally:  # what was measured is not lost where it cannot be compared
        written = write_report(out, record)
    typer.echo((out / "bench.json" if json else out / "report.md").read_text())
    typer.echo(f"report: {written}", err=True)
    raise typer.Exit(bad(record))


def _earlier(against: Path | None, fail_on: str | None) -> tuple[Record | None, dict[str, float]]:
    """The earlier run, if there is one to compare with, and the limits, which it must be able to hold."""
    from medseg.bench.compare import check_limits, limits_from, usual_limits
    from medseg.bench.record import read_json

    limits = {} if fail_on is None else limits_from(fail_on)
    if against is None:
        return None, limits
    before = read_json(against)
    limits = limits or usual_limits(before)
    check_limits(limits, before)
    return before, limits


def _entries(
    runs: list[Run], asked: tuple[list[str] | None, list[str] | None, list[str] | None], quick: bool
) -> list[Entry]:
    """What was asked for by engine, precision and place; the usual where nothing was."""
    from medseg.bench.lineup import WHERE, entries, held, usual
    from medseg.engines import CPU_DEFAULT

    engine, precision, where = asked
    if not runs:
        return []
    if not any(asked):
        return usual(runs, quick)
    return entries(engine or [CPU_DEFAULT], precision or held(runs), where or WHERE)


def _variants(
    task: Task, entries: list[Entry], decoder: str, shared_memory: bool, early_exit: float | None
) -> list[Entry]:
    from dataclasses import replace

    from medseg.bench.lineup import with_variants
    from medseg.bench.voting import voters
    from medseg.errors import InputError

    count = len(voters(task.pipeline))
    if early_exit is not None and count != 3:
        raise InputError(
            f"--early-exit belongs to three networks that vote; task {task.name!r} has {count} that do: leave it out"
        )
    return with_variants([replace(entry, decoder=decoder) for entry in entries], shared_memory, early_exit)


def _writer(task: Task, runs: list[Path]) -> Write:
    """What writes an entry's repository: the same as `medseg serve` does."""
    from medseg.api.serve import Repository, write_repository

    return lambda folder, entry: write_repository(
        folder, task, runs, Repository("embedded", entry.engine, entry.precision, entry.decoder)
    )


def _say(line: str) -> None:
    if sys.stderr.isatty():
        typer.echo(line, err=True)
