"""A process that imports medseg once and forks for each command, so that dozens of kills need only one import."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

CODE = """
import json, os, sys, weakref
import onnx, onnxruntime, onnxscript, openvino, torch
import medseg.api.predict, medseg.api.serve, medseg.bench.benchmark, medseg.cohort.command, medseg.bench.show.report
import torch.onnx._internal.exporter._core
import medseg.export.chain, medseg.train.fit, medseg.train.data
import medseg.triton_models.server, medseg.triton_models.watch
from medseg.cli.main import main

print("ready", flush=True)
for line in sys.stdin:
    words, said = json.loads(line)
    child = os.fork()
    if child == 0:
        os.setsid()
        for number, name in ((0, os.devnull), (1, said), (2, said)):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), number)
        sys.argv = ["medseg", *words]
        code = 1
        try:
            main()
            code = 0
        except SystemExit as end:  # as Python itself ends: words are said, and count as 1
            code = end.code or 0
            if isinstance(code, str):
                print(code, file=sys.stderr, flush=True)
                code = 1
        finally:  # libraries that were loaded before the fork may not outlive their own cleaning up
            weakref.finalize._exitfunc()
            sys.stdout.flush()
            os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
MARK = "MEDSEG_TEST_FAMILY"


class Warm:
    """The process; `family` finds the processes that its commands started."""

    def __init__(self, scratch: Path) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self.scratch, self._said = scratch, scratch.parent / "said.txt"
        self._mark = f"{os.getpid()}-{id(self)}"
        environment = os.environ | {MARK: self._mark, "TMPDIR": str(scratch), "OMP_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen([sys.executable, "-c", CODE], text=True, env=environment, **pipes)
        assert self._process.stdout.readline() == "ready\n"

    def start(self, words: Sequence[object]) -> int:
        """Start a command; returns its process id."""
        self._said.unlink(missing_ok=True)
        self._process.stdin.write(json.dumps([list(map(str, words)), str(self._said)]) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait(self) -> int:
        """Wait for the command; returns its exit code, or minus the number of the signal that ended it."""
        return int(self._process.stdout.readline())

    def run(self, words: Sequence[object]) -> int:
        """Run a command; returns its exit code."""
        self.start(words)
        return self.wait()

    @property
    def said(self) -> str:
        """The output of the last command."""
        return self._said.read_text() if self._said.exists() else ""

    def family(self) -> Iterator[psutil.Process]:
        """The running processes that commands started."""
        for one in psutil.process_iter():
            try:
                mine = one.pid != self._process.pid and one.environ().get(MARK) == self._mark
                if mine and one.status() != psutil.STATUS_ZOMBIE:
                    yield one
            except psutil.Error:
                continue

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def words_of(process: psutil.Process) -> list[str]:
    """A process's command line; empty if it has ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@contextmanager
def warm(folder: Path) -> Iterator[Warm]:
    """A warm process, with its temporary files in the folder."""
    process = Warm(folder / "scratch")
    try:
        yield process
    finally:
        process.close()
