"""Commands killed at any moment: files are complete or absent, the next command continues, and no process is left.

Moments are drawn with a seed within the time of a complete run; SIGKILL and SIGTERM take turns.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from benchmarks.ports import free_port
from medseg.bench.stored import read_json
from medseg.cohort.ledger import read_ledger
from medseg.files import sha256
from medseg.run import PROGRAM, WEIGHTS, Run
from medseg.tasks import network_named, task_named
from tests.bench.runs import bright_run
from tests.patience import PATIENCE_S
from tests.warm import Warm, warm, words_of

pytest.importorskip("pytriton")
FEW, MANY = 2, 20


@dataclass(frozen=True)
class Command:
    """One command, and the checks of its folder after it was killed, and after it was given again."""

    words: Callable[[Path], list[object]]  # the folder -> the command line
    prepare: Callable[[Path], None]  # an empty folder -> what the command needs in it
    check: Callable[[Path], None]  # raises AssertionError if something is half-written
    again: Callable[[Path], list[object]]  # the command that continues
    done: Callable[[Path], None]  # raises AssertionError if something is missing after it continued


def _nothing(_: Path) -> None:
    pass


def _train(folder: Path) -> list[object]:
    small = ["--features=2", "--size=32", "--batch-size=8", "--epochs=3", "--loader=torch", "--workers=0"]
    return ["train", "brain-lgg", folder.parent / "brains", "--out", folder / "run", *small]


def _whole_run(folder: Path) -> None:
    if (folder / "run/manifest.json").exists():
        problems = Run(folder / "run").problems()  # an unfinished fit has one problem, which says how to continue
        assert not problems or (len(problems) == 1 and "continue with `medseg train --resume`" in problems[0])


def _fitted(folder: Path) -> None:
    run = Run(folder / "run")
    assert "result" in run.manifest and PROGRAM in run.files and not run.problems()


def _train_again(folder: Path) -> list[object]:
    return [*_train(folder), *(["--resume"] if (folder / "run/manifest.json").exists() else [])]


def _weights(folder: Path) -> None:
    run = Run.create(folder / "run", "luna-nodule", {"features": 2}, {"kind": "test"})
    torch.manual_seed(0)  # the same network each time: some random ones lose too much in FP16
    with run.adding(WEIGHTS, {}) as path:
        torch.save(network_named("luna-nodule").build(features=2).state_dict(), path)


def _export(folder: Path) -> list[object]:
    return ["export", folder / "run", "--fp16", "--samples=2"]


def _exported(folder: Path) -> None:
    run = Run(folder / "run")
    assert run.files.keys() == Run(folder.parent / "whole/run").files.keys() and not run.problems()


def _slice(folder: Path) -> None:
    bright_run(folder / "run", network_named("gi-tract"))
    task_named("gi-tract").known_data("test").phantom(folder / "data", 1, 0)


def _predict(folder: Path) -> list[object]:
    return ["predict", "gi-tract", folder / "data", f"--run={folder / 'run'}", f"--out={folder / 'out'}"]


def _whole_answers(folder: Path) -> None:
    """Every file with its final name has the bytes of a complete run; the table has some of its rows."""
    whole = folder.parent / "whole/out"
    for path in (folder / "out").glob("[!.]*"):
        if path.suffix == ".csv":
            assert set(_lines(path)) <= set(_lines(whole / path.name))
        else:
            assert path.read_bytes() == (whole / path.name).read_bytes(), path.name


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def _all_answers(folder: Path) -> None:
    """After the command was given again, no answer is missing, and no file of the killed command is left."""
    whole, there = folder.parent / "whole/out", folder / "out"
    assert {path.name for path in there.glob("[!.]*")} == {path.name for path in whole.glob("[!.]*")}
    assert sorted(_lines(there / "submission.csv")) == sorted(_lines(whole / "submission.csv"))


def _bench(folder: Path, out: str = "bench") -> list[object]:
    return ["bench", "gi-tract", folder / "data", f"--run={folder / 'run'}", "--quick", f"--out={folder / out}"]


def _bench_again(folder: Path) -> list[object]:
    """In another folder if the killed command left a record: SIGTERM writes one, and records are never changed."""
    return _bench(folder, "again" if (folder / "bench/bench.json").exists() else "bench")


def _whole_records(folder: Path) -> None:
    for path in folder.glob("*/bench.json"):
        assert read_json(path)["task"] == "gi-tract"


def _recorded(folder: Path) -> None:
    assert not all(read_json(path)["interrupted"] for path in folder.glob("*/bench.json"))


def _batch(folder: Path) -> list[object]:
    return ["batch", "gi-tract", folder / "data", f"--run={folder / 'run'}", f"--out={folder / 'cohort'}"]


def _true_ledger(folder: Path) -> None:
    """Every case that is listed as done has its files, with the recorded sha256."""
    path = folder / "cohort/manifest.jsonl"
    for entry in read_ledger(path).entries.values() if path.exists() else ():
        assert entry.status == "done" and all(
            sha256(folder / "cohort" / name) == entry.files[name] for name in entry.files
        )


def _whole_cohort(folder: Path) -> None:
    """The ledger and the files are those of a command that was not killed."""
    ledger, whole = (read_ledger(one / "cohort/manifest.jsonl") for one in (folder, folder.parent / "whole"))
    assert [(name, one.status, one.files) for name, one in ledger.entries.items()] == [
        (name, one.status, one.files) for name, one in whole.entries.items()
    ]
    listed = {name for one in ledger.entries.values() for name in one.files}
    listed |= {"manifest.jsonl", "report.md", "report.html"}
    assert {
        str(one.relative_to(folder / "cohort")) for one in (folder / "cohort").rglob("*") if one.is_file()
    } == listed


COMMANDS = {
    "batch": Command(_batch, _slice, _true_ledger, _batch, _whole_cohort),
    "train": Command(_train, _nothing, _whole_run, _train_again, _fitted),
    "export": Command(_export, _weights, _whole_run, _export, _exported),
    "predict": Command(
        _predict, _slice, _whole_answers, lambda folder: [*_predict(folder), "--overwrite"], _all_answers
    ),
    "bench": Command(_bench, _slice, _whole_records, _bench_again, _recorded),
}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    with warm(tmp_path_factory.mktemp("warm")) as made:
        yield made


def _nobody_left(process: Warm) -> None:
    """Wait until no process of the commands runs any more."""
    deadline = time.monotonic() + PATIENCE_S
    while (alive := list(process.family())) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not alive, [one.cmdline() for one in alive]


def _killed(process: Warm, words: list[object], seconds: float, how: signal.Signals) -> int:
    """Start a command, and send it a signal after so many seconds if it still runs."""
    child = process.start(words)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(one.pid == child for one in process.family()):
        time.sleep(0.05)
    if any(one.pid == child for one in process.family()):
        os.kill(child, how)
    process.wait()
    return child


def _at_moments(name: str, count: int, folder: Path, process: Warm) -> None:
    command = COMMANDS[name]
    if name == "train":
        task_named("brain-lgg").known_data("test").phantom(folder / "brains", 4, 0)
    command.prepare(folder / "whole")
    started = time.monotonic()
    assert process.run(command.words(folder / "whole")) == 0, process.said
    whole_s = time.monotonic() - started
    rng = random.Random(name)
    for number in range(count):
        place = folder / str(number)
        command.prepare(place)
        how = signal.SIGTERM if number % 2 else signal.SIGKILL
        killed = _killed(process, command.words(place), rng.uniform(0, whole_s), how)
        command.check(place)
        _nobody_left(process)
        assert process.run(command.again(place)) == 0, process.said
        command.check(place)
        command.done(place)
        assert not list(Path("/dev/shm").glob(f"medseg*_{killed}_*"))
        assert not list(process.scratch.glob("medseg-*.*")), "what the killed one left goes with the next"
        shutil.rmtree(place)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_a_few_moments(name: str, tmp_path: Path, process: Warm) -> None:
    _at_moments(name, FEW, tmp_path, process)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_killed_at_20_moments(name: str, tmp_path: Path, process: Warm) -> None:
    _at_moments(name, MANY, tmp_path, process)


def _serve(folder: Path) -> list[object]:
    doors = [f"--{name}-port={free_port()}" for name in ("http", "grpc", "metrics")]
    words = [f"--run={folder / 'run'}", "--decoder=reference", "--instances=1", f"--log={folder / 'log'}"]
    return ["serve", "gi-tract", *words, *doors]


def _until_serving(process: Warm) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while "serving gi-tract" not in process.said and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "serving gi-tract" in process.said, process.said


def _served_at_moments(count: int, folder: Path, process: Warm) -> None:
    _slice(folder)
    words = _serve(folder)
    started = time.monotonic()
    child = process.start(words)
    _until_serving(process)
    whole_s = time.monotonic() - started
    os.kill(child, signal.SIGTERM)
    assert process.wait() == 0
    rng = random.Random(count)
    killed = []
    for number in range(count):
        how = signal.SIGTERM if number % 2 else signal.SIGKILL
        killed.append(_killed(process, words, rng.uniform(0, 1.3 * whole_s), how))
    child = process.start(words)  # on the same ports
    _until_serving(process)
    assert not [path for one in killed for path in Path("/dev/shm").glob(f"medseg*_{one}_*")], (
        "gone with the next start"
    )
    os.kill(child, signal.SIGTERM)
    assert process.wait() == 0
    _nobody_left(process)
    assert not list(process.scratch.glob("medseg-*.*"))
    assert not list(Path("/dev/shm").glob(f"medseg*_{child}_*"))


@pytest.mark.parametrize("first", ["triton_models.front", "bin/tritonserver", "triton_python_backend_stub"])
def test_serve_killed_while_it_starts_leaves_nothing(first: str, tmp_path: Path, process: Warm) -> None:
    _slice(tmp_path)
    child = process.start(_serve(tmp_path))
    deadline = time.monotonic() + PATIENCE_S
    while not any(first in " ".join(words_of(one)) for one in process.family()) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and "serving" not in process.said
    _nobody_left(process)
    left = [path for one in process.scratch.glob("medseg-triton*") for path in (one, *one.rglob("*"))]
    assert not left
    assert not list(Path("/dev/shm").glob(f"medseg*_{child}_*"))


@pytest.mark.slow
def test_serve_killed_at_a_few_moments(tmp_path: Path, process: Warm) -> None:
    _served_at_moments(FEW, tmp_path, process)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_serve_killed_at_20_moments(tmp_path: Path, process: Warm) -> None:
    _served_at_moments(MANY, tmp_path, process)
