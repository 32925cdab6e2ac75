"""`medseg bench`: speed and score of every engine and precision on the same cases, and where the time goes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def bench(
    task: Annotated[str, typer.Argument(help="luna, gi-tract, brain-lgg or stas.")],
    data: Annotated[Path | None, typer.Argument(help="A folder in the task's own layout, or one file.")] = None,
    run: Annotated[list[Path] | None, typer.Option(help="A run of each of the task's networks.")] = None,
    url: Annotated[list[str] | None, typer.Option(help="A server, such as grpc://localhost:8001.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Engines to compare; openvino if absent.")] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="Precisions to compare; all that the runs hold if absent.")
    ] = None,
    where: Annotated[list[str] | None, typer.Option(help="local, served; both if absent.")] = None,
    concurrency: Annotated[list[int] | None, typer.Option(min=1, help="How many requests at once; repeatable.")] = None,
    rate: Annotated[list[float] | None, typer.Option(help="Requests per second, sent when due.")] = None,
    arrivals: Annotated[str, typer.Option(help="poisson or constant, for --rate.")] = "poisson",
    cases: Annotated[int | None, typer.Option(min=1, help="Use only the first cases.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds after which a request counts as failed.")] = 120.0,
    quick: Annotated[bool, typer.Option("--quick", help="One round over at most 8 cases, short levels.")] = False,
    out: Annotated[Path, typer.Option(help="The folder for bench.json and the report.")] = Path("bench"),
    against: Annotated[Path | None, typer.Option(help="An earlier bench.json to compare with.")] = None,
    fail_on: Annotated[str, typer.Option(help="What --against fails on, as metric:change.")] = "score:-0.1%,p50:+10%",
    json: Annotated[bool, typer.Option("--json", help="Print bench.json instead of tables.")] = False,
) -> None:
    """Measure latency, throughput and score, and write a report.

    Exits with 1 where a request failed or --against found something worse; the report is written all the same.

    Example: medseg bench luna ct.mhd --run runs/segment --run runs/nodule --precision fp32 --precision fp16 --out bench
    """
    from dataclasses import replace

    from medseg.bench.benchmark import Settings, benchmark, run_facts
    from medseg.bench.compare import limits_from
    from medseg.bench.lineup import WHERE, entries, held, lineup, remote
    from medseg.bench.load import ARRIVALS, QUICK, Plan
    from medseg.bench.measure import Loads
    from medseg.bench.questions import made_up, questions
    from medseg.bench.record import read_json
    from medseg.bench.report import bad, with_comparison, write_report
    from medseg.errors import InputError
    from medseg.run import Run
    from medseg.tasks import task_named

    if arrivals not in ARRIVALS or min(rate or [1.0]) <= 0:
        raise InputError(f"--rate is {rate} and --arrivals {arrivals!r}; expected a positive rate, poisson or constant")
    if bool(run) == bool(url):
        raise InputError("--run and --url: got both or neither; expected runs to open, or a server to ask")
    before, limits = read_json(against) if against else None, limits_from(fail_on)
    subject, runs = task_named(task), [Run(path) for path in run or []]
    asked = questions(subject, data or made_up(subject, out / "phantom"))[: cases or (8 if quick else None)]
    if runs:
        combinations = entries(engine or ["openvino"], precision or held(runs), where or WHERE)
        openings = lineup(subject, runs, combinations)
    else:
        openings = [remote(subject, address) for address in url or []]
    plan = replace(QUICK if quick else Plan(), timeout_s=timeout)
    settings = Settings(plan, Loads(concurrency or (), rate or (), arrivals), _say)
    record = benchmark(subject, openings, asked, settings) | {"runs": run_facts(runs)}
    written = write_report(out, record)
    if before:
        record = with_comparison(record, before, limits)
        write_report(out, record)
    typer.echo((out / "bench.json" if json else out / "report.md").read_text())
    typer.echo(f"report: {written}", err=True)
    raise typer.Exit(bad(record))


def _say(line: str) -> None:
    if sys.stderr.isatty():
        typer.echo(line, err=True)
