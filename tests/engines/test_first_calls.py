"""First calls from several threads at once, in fresh processes: there a library sets up what it sets up once."""

import signal
import subprocess
import sys

import pytest

from medseg.engines.runs import exported_file
from medseg.run import Run

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
from pathlib import Path
import time

import numpy as np
from medseg.tasks.streaming import answers


def slow(batch):
    print("computing", flush=True)
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


@pytest.mark.slow
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
