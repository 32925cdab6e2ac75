"""Benchmark: every target measured one after the other; a target that fails does not end the measurement."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import cast

from medseg import __version__
from medseg.bench.cases import PICTURES, scorer_of
from medseg.bench.judge.score_changes import score_changes
from medseg.bench.lineup import Opening
from medseg.bench.measure.load import Crew, Plan, ask_within
from medseg.bench.measure.machine import facts, sampling, yardstick_s
from medseg.bench.measure.recorded import target_record, unmeasured_record
from medseg.bench.measure.rounds import Loads, Say, measure
from medseg.bench.measure.target import BenchTarget
from medseg.bench.measure.waterfalls import waterfalls
from medseg.bench.pictures import pictures
from medseg.bench.record import SCHEMA, CaseRecord, MeanRecord, Record, RunRecord, TargetRecord, UsageRecord
from medseg.errors import MedsegError
from medseg.files import sha256
from medseg.metrics.means import differences
from medseg.run import Run
from medseg.task import Task, Unread
from medseg.tasks.scorer import Scorer

_TRIES = 200

Asked = tuple[Sequence[Unread], Path | None]  # cases, and the data folder that knows their truth


def _say(line: str) -> None:
    """Show the progress to a user at a terminal."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr)


@dataclass(frozen=True)
class Settings:
    """How everything is measured."""

    plan: Plan
    loads: Loads
    say: Say = _say


@dataclass(frozen=True)
class Extras:
    """What is measured besides the targets: scores by `data`; the runs' networks, alone and file by file."""

    runs: Sequence[Run] = ()
    data: Path | None = None
    alone: Sequence[tuple[Opening, Unread]] = ()
    waterfall: bool = False


def benchmark(
    task: Task,
    openings: Sequence[Opening],
    cases: Sequence[Unread],
    settings: Settings,
    extras: Extras = Extras(),
) -> Record:
    """What bench.json holds: the machine, the cases, and everything measured of every target.

    Ctrl-C ends it early: the record then holds what was measured, and `interrupted` is true.
    """
    record: Record = {
        "schema": SCHEMA,
        "medseg": __version__,
        "task": task.name,
        "main": task.scoring.main if task.scoring else "",
        "brief": list(task.scoring.brief) if task.scoring else [],
        "voters": {step.run: step.name for step in task.pipeline.steps if isinstance(step.run, str)},
        "command": ["medseg", *sys.argv[1:]],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": asdict(settings.plan),
        "machine": facts(),
        "client": {"overhead_s": client_overhead_s()},
        "cases": [_case(case) for case in cases],
        "runs": run_facts(extras.runs),
        "targets": [],
        "networks": [],
        "waterfalls": [],
        "score_changes": [],
        "pictures": [],
        "interrupted": False,
    }
    scorers: dict[str, Scorer] = {}  # by target, with the answers that will be drawn
    try:
        _measure_targets(record, task, openings, (cases, extras.data), settings, scorers)
        for opening, case in extras.alone:
            record["networks"].append(_measured(task, opening, [case], _alone(settings), {}))
            _stop_if_interrupted(record["networks"][-1])
        for found in waterfalls(task, extras.runs, extras.data) if extras.waterfall else ():
            record["waterfalls"].append(found)
    except KeyboardInterrupt:
        record["interrupted"] = True
    record["pictures"] = pictures(scorers, record["targets"], record["main"])
    record["score_changes"] = score_changes(record["targets"], record["main"])
    return record


def _measure_targets(
    record: Record,
    task: Task,
    openings: Sequence[Opening],
    asked: Asked,
    settings: Settings,
    scorers: dict[str, Scorer],
) -> None:
    """Measure each target; return the scorers of those with scores, which keep the first one's worst answers."""
    cases, data = asked
    inside: dict[str, dict[str, None]] = {}  # step -> the networks it calls, as seen in targets that ran here
    for opening in openings:
        drawn = next(iter(scorers.values())).drawable if scorers else PICTURES
        scorer = scorer_of(task, data, cases, drawn) if data else None
        latest = _measured(task, opening, cases, settings, inside, scorer)
        if scorer and latest["scores"]:
            scorers[latest["name"]] = scorer
        first = record["targets"][0] if record["targets"] else None
        latest["paired"] = _paired(latest, first) if first else {}
        record["targets"].append(latest)
        _stop_if_interrupted(latest)


def _paired(latest: TargetRecord, first: TargetRecord) -> dict[str, MeanRecord]:
    found = differences(latest["scores"], first["scores"])
    return {name: cast(MeanRecord, asdict(mean)) for name, mean in found.items()}


def _stop_if_interrupted(target: TargetRecord) -> None:
    """Pass on the Ctrl-C that a target's measurement caught."""
    if target["interrupted"]:
        raise KeyboardInterrupt


def _alone(settings: Settings) -> Settings:
    """A network by itself needs no rounds over cases and no levels of load."""
    plan = replace(settings.plan, warmup=1, rounds=1, requests=6, long_s=None)
    return replace(settings, plan=plan, loads=Loads())


def client_overhead_s() -> float:
    """The client's own share of a latency: the median in seconds that it measures for a target that answers at once."""
    nothing, target, crew = Unread("nothing", dict), BenchTarget("nothing", lambda asked, _: asked.ask()), Crew()
    return median(ask_within(crew, target, nothing, 1.0)[0].latency_s for _ in range(_TRIES))


def run_facts(runs: Sequence[Run]) -> list[RunRecord]:
    """Which networks were measured: each run's path, files and their checksums."""
    return [{"path": str(run.path), "network": run.network, "files": _checksums(run)} for run in runs]


def _checksums(run: Run) -> dict[str, str]:
    return {name: entry["sha256"] for name, entry in run.files.items()}


def _case(case: Unread) -> CaseRecord:
    return {"id": case.id, "sha256": {file.name: sha256(file) for file in case.files}}


def _measured(
    task: Task,
    opening: Opening,
    cases: Sequence[Unread],
    settings: Settings,
    inside: dict[str, dict[str, None]],
    scorer: Scorer | None = None,
) -> TargetRecord:
    try:
        with opening.open() as target, sampling(target.pids) as usage:
            yardstick = yardstick_s()
            result = measure(target, cases, settings.plan, settings.loads, settings.say, scorer)
    except MedsegError as error:  # it could not even be opened
        return unmeasured_record(opening.name, opening.facts, str(error))
    except KeyboardInterrupt:  # while it was being opened or closed
        return unmeasured_record(opening.name, opening.facts, "interrupted: not measured", interrupted=True)
    for stage in dict.fromkeys(stage for timing in result.serial for stage in timing.items):
        step, network = stage.split(": ", 1)
        inside.setdefault(step, {})[network] = None
    record = target_record(result, task, inside)
    record["usage"], record["yardstick_s"] = cast(UsageRecord, asdict(usage)), yardstick
    return record
