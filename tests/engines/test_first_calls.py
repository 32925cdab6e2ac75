"""First calls from several threads at once, in fresh processes: there a library sets up what it sets up once."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.engines.runs import exported_file
from medseg.run import Run
from medseg.tasks import task_named

FIRST_CALLS = """
import sys
from pathlib import Path
from threading import Barrier, Thread

sys.setswitchinterval(1e-6)  # threads change so often that every race is run

import numpy as np
from medseg.engines import open_engine

name, file = sys.argv[1], Path(sys.argv[2])
engines = [open_engine(name, file, threads=2, streams=2) for _ in range(2)]
together, answered = Barrier(4), []


def call(engine):
    together.wait()
    answered.append(engine(np.zeros((1, 1, 32, 48, 48), np.float32)))


threads = [Thread(target=call, args=[engine], daemon=True) for engine in engines * 2]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(answered))
"""
# What OpenVINO itself did: where the engine's module did not ask for the type, this hung six times of ten.
FIRST_TYPES = """
import sys
from threading import Barrier, Thread

sys.setswitchinterval(1e-6)
import medseg.engines.openvino, openvino

together = Barrier(4)


def ask():
    together.wait()
    openvino.Type.f32.to_dtype()


threads = [Thread(target=ask, daemon=True) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(4)
"""
LONG_PIPELINE = """
import os, time

import numpy as np
from medseg.tasks.streaming import answers


def slow(batch):
    os.write(1, b"computing\\n")  # in one piece, whatever another thread writes
    time.sleep(0.2)
    return batch


list(answers(slow, (np.zeros(1) for _ in range(10_000))))
"""
HANG_S = 120  # a process that is not through by then never will be: it takes a few seconds


def in_fresh_processes(count: int, code: str, *words: str) -> None:
    for _ in range(count):
        ran = subprocess.run([sys.executable, "-c", code, *words], timeout=HANG_S, capture_output=True, text=True)
        assert (ran.returncode, ran.stdout.strip()) == (0, "4"), ran.stderr


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_first_calls_from_several_threads_are_answered(luna_runs: list[Run], engine: str) -> None:
    in_fresh_processes(2, FIRST_CALLS, engine, str(exported_file(luna_runs[1], engine, "fp32")))


def test_openvinos_types_are_set_up_before_there_are_threads() -> None:
    in_fresh_processes(2, FIRST_TYPES)


@pytest.mark.long
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "torch"])
def test_first_calls_are_answered_twenty_times_of_twenty_beside_a_busy_loop(luna_runs: list[Run], engine: str) -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        in_fresh_processes(20, FIRST_CALLS, engine, str(exported_file(luna_runs[1], engine, "fp32")))
    finally:
        busy.kill()
        busy.wait()


def test_ctrl_c_ends_a_long_step_at_the_next_batch() -> None:
    """Of 10,000 batches of 0.2 s only those in flight are awaited: the process is gone long before they are through."""
    process = subprocess.Popen([sys.executable, "-c", LONG_PIPELINE], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "computing\n"
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=HANG_S)
    assert process.returncode != 0 and len(rest.splitlines()) < 50


SLOW_PREDICT = """
import os, signal, sys, threading, time
from contextlib import contextmanager

import numpy as np
import medseg.engines.runs
from medseg.tasks import network_named


by, first = sys.argv.pop(1), threading.Lock()


@contextmanager
def opened(runs, engine, precision):
    def slow(batch):
        os.write(1, b"computing\\n")
        # Does not wake the main thread, as a signal does not that comes just before that thread begins to wait.
        if by == "itself" and first.acquire(blocking=False):
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        time.sleep(2)
        return np.ones(network_named("luna-segment").answer_shape(batch.shape), np.float32)

    yield lambda name: slow


medseg.engines.runs.opened = opened
from medseg.cli.main import main

main()
"""


@pytest.mark.parametrize("by", ["another", "itself"])
def test_ctrl_c_ends_predict_in_the_middle_of_a_ct(by: str, luna_runs: list[Run], tmp_path: Path) -> None:
    """Each slice takes 2 s and there are dozens: it ends with those in flight, and writes nothing."""
    task_named("luna").known_data("test").phantom(tmp_path / "data", 1, 0)
    (ct,) = (tmp_path / "data").glob("subset*/*.mhd")
    runs = [word for run in luna_runs for word in ("--run", str(run.path))]
    words = ["predict", "luna", str(ct), *runs, "--out", str(tmp_path / "out")]
    process = subprocess.Popen([sys.executable, "-c", SLOW_PREDICT, by, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "computing\n"
    if by == "another":
        process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == 130 and len(rest.splitlines()) < 12
    assert not list(tmp_path.glob("out/*"))
