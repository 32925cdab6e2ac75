"""The tiers, the most useful first. Each runs in a process of its own, which is ended at its time limit."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import cast

from benchmarks.gpu.setting import Setting
from benchmarks.gpu.sheet import Result, Sheet, read, write
from medseg.engines.gpu import gpu_name


@dataclass(frozen=True)
class Tier:
    """One group of measurements, and its time limit."""

    name: str
    title: str
    module: str  # has `run(setting, sheet)`
    limit_s: float


TIERS = (
    Tier("facts", "Device, software, and the tests marked `gpu`", "benchmarks.gpu.facts", 120),
    Tier("precisions", "Networks in torch: FP32, TF32, mixed precision, compiled", "benchmarks.gpu.precisions", 180),
    Tier("fits", "`medseg train` in FP32 and in mixed precision", "benchmarks.gpu.fits", 180),
    Tier("dlpack", "Triton's steps on CUDA tensors: the same answer 20 times", "benchmarks.gpu.dlpack", 120),
    Tier("plans", "TensorRT: built, read back, judged, timed", "benchmarks.gpu.plans", 300),
    Tier("dali", "DALI: decoding, and a training step with and without loading", "benchmarks.gpu.dali", 150),
    Tier("ensembles", "Whole answers, here and served", "benchmarks.gpu.ensembles", 240),
    Tier("lgg", "brain-lgg fitted to all data there is", "benchmarks.gpu.lgg", 300),
)
HEAVY = ["torch", "pytorch_lightning", "medseg.api.train", "medseg.export.chain", "medseg.bench.benchmark"]
_now = time.monotonic
_GRACE_S = 5.0  # seconds between SIGTERM and SIGKILL


def chosen(names: Sequence[str] | None) -> list[Tier]:
    """The tiers of these names; all tiers for None."""
    return [tier for tier in TIERS if names is None or tier.name in names]


def run_all(setting: Setting, tiers: Sequence[Tier]) -> list[Result]:
    """Every tier's result, in order. A tier that fails or is too slow stops no other. A rehearsal runs two at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(HEAVY)  # imported once for all tiers, before CUDA is started
    waiting, running, results = list(tiers), list[_Started](), dict[str, Result]()
    with _ended_when_told():
        try:
            while waiting or running:
                while waiting and len(running) < (2 if setting.rehearsal else 1):
                    running.append(_start(context, setting, waiting.pop(0)))
                wait([one.process.sentinel for one in running], max(0, min(one.until for one in running) - _now()))
                for one in [one for one in running if one.over()]:
                    running.remove(one)
                    results[one.tier.name] = _result(one, setting)
        finally:
            for one in running:
                _end(one.process)
    return [results[tier.name] for tier in tiers]


def _said(result: Result) -> Iterator[str]:
    """A result as lines, for the terminal."""
    yield f"{result.tier}:"
    for item in result.items:
        found = ", ".join(f"{name} {value}" for name, value in item.facts.items() if value is not None)
        yield f"  {item.name}: {'; '.join(filter(None, (found, item.short, item.problem)))} ({item.seconds} s)"
    yield f"  {result.state} in {result.seconds} s{result.problem and ': '}{result.problem}"


def file_of(setting: Setting, tier: Tier) -> Path:
    """The file of a tier's result."""
    return setting.out / f"{tier.name}.json"


@dataclass(frozen=True)
class _Started:
    """A running tier; `until` is its time limit on the monotonic clock."""

    tier: Tier
    process: ForkServerProcess
    began: float
    until: float

    def over(self) -> bool:
        return self.process.exitcode is not None or _now() >= self.until


def _start(context: ForkServerContext, setting: Setting, tier: Tier) -> _Started:
    """Start the tier's process. In a rehearsal, tiers run side by side, so each has a working folder of its own."""
    print(f"{tier.name}: {tier.title}, at most {tier.limit_s:g} s", file=sys.stderr, flush=True)
    file_of(setting, tier).unlink(missing_ok=True)
    own = replace(setting, work=setting.work / tier.name) if setting.rehearsal else setting
    process = context.Process(target=_one, args=(own, tier))
    began = _now()
    process.start()
    return _Started(tier, process, began, began + tier.limit_s)


def _result(one: _Started, setting: Setting) -> Result:
    """The result of a tier that has ended, or is ended here because its time is up."""
    late, file = one.process.exitcode is None, file_of(setting, one.tier)
    _end(one.process)
    result = read(file) if file.is_file() else Result(one.tier.name, one.tier.title, setting.rehearsal)
    if result.state == "running":  # it could not record its end
        state = "stopped" if late else "failed"
        why = f"not done in {one.tier.limit_s:g} s" if late else f"its process ended with code {one.process.exitcode}"
        result = replace(result, state=state, problem=why, seconds=round(_now() - one.began, 1))
        write(file, result)
    print("\n".join(_said(result)), file=sys.stderr, flush=True)
    return result


def _one(setting: Setting, tier: Tier) -> None:
    """Runs in the tier's own process, which leads a session, so that its children end with it. Output goes to a log."""
    os.setsid()
    said = setting.out / f"{tier.name}.log"
    with said.open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sheet = Sheet(file_of(setting, tier), Result(tier.name, tier.title, setting.rehearsal, gpu_name()))
    try:
        cast(Callable[[Setting, Sheet], None], import_module(tier.module).run)(setting, sheet)
    except BaseException as error:
        sheet.end("failed", f"{type(error).__name__}: {error}")
        raise
    sheet.end()


def _end(process: ForkServerProcess) -> None:
    """End the tier's process and all processes that it started."""
    if process.pid is None:
        return
    for how in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, how)
        process.join(_GRACE_S)
    process.join()


@contextmanager
def _ended_when_told() -> Iterator[None]:
    """Within the block, SIGTERM raises SystemExit, so that the processes that were started are ended too."""

    def told(*_: object) -> None:
        raise SystemExit("ended by SIGTERM")

    before = signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
