"""Benchmark: every target measured one after the other; a target that fails is part of the result, not its end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median

from medseg import __version__
from medseg.bench.accuracy import differences
from medseg.bench.lineup import Opening
from medseg.bench.load import Crew, Plan, closed_loop
from medseg.bench.machine import BUSY, facts, sampling, yardstick_s
from medseg.bench.measure import Loads, Say, measure
from medseg.bench.record import SCHEMA, Record, target_record, unmeasured_record
from medseg.bench.target import Question, Target
from medseg.errors import MedsegError
from medseg.run import Run, sha256
from medseg.task import Task

_BRIEF = Plan(window_s=0.1, limit_s=0.3)


@dataclass(frozen=True)
class Settings:
    """How everything is measured."""

    plan: Plan
    loads: Loads
    say: Say = lambda _: None


def benchmark(task: Task, openings: Sequence[Opening], questions: Sequence[Question], settings: Settings) -> Record:
    """What bench.json holds: the machine, the cases, and everything measured of every target."""
    record: Record = {
        "schema": SCHEMA,
        "medseg": __version__,
        "task": task.name,
        "command": ["medseg", *sys.argv[1:]],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": asdict(settings.plan),
        "machine": facts(),
        "client": {"overhead_s": client_overhead_s()},
        "cases": [_case(question) for question in questions],
        "targets": [],
    }
    inside: dict[str, dict[str, None]] = {}  # step -> the networks it calls, as seen in targets that ran here
    for opening in openings:
        record["targets"].append(_measured(task, opening, questions, settings, inside))
        latest = record["targets"][-1]
        latest["paired"] = (
            differences(latest["scores"], record["targets"][0]["scores"]) if opening is not openings[0] else {}
        )
    return record


def client_overhead_s() -> float:
    """The median latency in seconds that the client measures of a target which answers at once: its own share."""
    nothing = Question("nothing", dict)
    level = closed_loop(Crew(), Target("nothing", lambda question, _: question.read()), [nothing], 1, _BRIEF)
    return median(timing.latency_s for timing in level.timings)


def run_facts(runs: Sequence[Run]) -> list[Record]:
    """Which networks were measured: each run's path, files and their checksums."""
    return [{"path": str(run.path), "network": run.network, "files": _checksums(run)} for run in runs]


def _checksums(run: Run) -> dict[str, str]:
    return {name: entry["sha256"] for name, entry in run.files.items()}


def _case(question: Question) -> Record:
    return {"id": question.id, "sha256": {file.name: sha256(file) for file in question.files}}


def _measured(
    task: Task, opening: Opening, questions: Sequence[Question], settings: Settings, inside: dict[str, dict[str, None]]
) -> Record:
    try:
        with opening.open() as target, sampling(target.pids) as usage:
            yardstick = yardstick_s()
            result = measure(target, questions, settings.plan, settings.loads, settings.say)
    except MedsegError as error:  # it could not even be opened
        return unmeasured_record(opening.name, opening.facts, str(error))
    for stage in dict.fromkeys(stage for timing in result.serial for stage in timing.items):
        step, network = stage.split(": ", 1)
        inside.setdefault(step, {})[network] = None
    record = target_record(result, task, inside)
    if usage.busy > BUSY:
        record["warnings"].append(
            f"other programs used {usage.busy:.0%} of the cores meanwhile: repeat on an idle machine"
        )
    return record | {"usage": asdict(usage), "yardstick_s": yardstick}
