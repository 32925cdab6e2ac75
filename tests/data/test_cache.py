import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from medseg.data.cache import build, fingerprint


def squares(count: int, folder: str) -> np.ndarray:
    (Path(folder) / f"made-{count}").write_text("")
    if count == 13:
        raise KeyboardInterrupt
    return np.arange(count) ** 2


@pytest.mark.parametrize("workers", [1, 2])
def test_arrays_are_made_once(tmp_path: Path, workers: int) -> None:
    jobs = {tmp_path / f"cache/{count}.npy": (count, str(tmp_path)) for count in (3, 4, 5)}
    build(squares, jobs, "squares", workers)
    assert [np.load(path, mmap_mode="r").tolist()[-1] for path in jobs] == [4, 9, 16]
    for mark in tmp_path.glob("made-*"):
        mark.unlink()
    build(squares, jobs, "squares", workers)
    assert not list(tmp_path.glob("made-*"))


def test_an_interrupted_build_leaves_no_half_file_and_goes_on(tmp_path: Path) -> None:
    first = {tmp_path / "3.npy": (3, str(tmp_path)), tmp_path / "13.npy": (13, str(tmp_path))}
    with pytest.raises(KeyboardInterrupt):
        build(squares, first, "squares", 1)
    assert sorted(path.name for path in tmp_path.glob("*.npy*")) == ["3.npy"]
    assert not list(tmp_path.glob(".*"))
    build(squares, {tmp_path / "3.npy": (3, str(tmp_path)), tmp_path / "6.npy": (6, str(tmp_path))}, "squares", 1)
    assert np.load(tmp_path / "6.npy").tolist()[-1] == 25


def killed(folder: str) -> np.ndarray:
    """What the kernel or an impatient user does to the process that makes an array."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError(folder)


def test_a_killed_build_leaves_nothing_behind_for_long(tmp_path: Path) -> None:
    path = tmp_path / "9.npy"
    code = f"from tests.data.test_cache import *; build(killed, {{Path({str(path)!r}): ('',)}}, 'killed', 1)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    (half,) = tmp_path.glob(".*")
    others = tmp_path / f".8.npy.{os.getpid()}"  # of a build that is still at work
    others.touch()
    build(squares, {path: (9, str(tmp_path))}, "squares", 1)
    assert np.load(path).tolist()[-1] == 64
    assert not half.exists() and others.exists()


def test_a_changed_source_has_another_fingerprint(tmp_path: Path) -> None:
    source = tmp_path / "scan"
    source.write_text("a")
    first = fingerprint(source, (1.0, 2.0))
    assert fingerprint(source, (1.0, 2.0)) == first
    assert fingerprint(source, (1.0, 2.5)) != first
    os.utime(source, ns=(1, 1))
    assert fingerprint(source, (1.0, 2.0)) != first


BUILDING = """
import sys, time
from pathlib import Path
from medseg.data.cache import build
def make(number):
    Path(sys.argv[1], f"begun{number}").touch()
    time.sleep(0.1)
    import numpy
    return numpy.zeros(1)
build(make, {Path(sys.argv[1], f"{n}.npy"): (n,) for n in range(2000)}, "made", workers=2)
"""


def test_a_killed_builders_helpers_end(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", BUILDING, str(tmp_path)])
    deadline = time.monotonic() + 100  # shorter than joblib's own patience, long for a busy machine
    while not list(tmp_path.glob("begun*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    helpers = psutil.Process(process.pid).children(recursive=True)
    assert len(helpers) >= 2
    process.kill()
    process.wait()
    assert not psutil.wait_procs(helpers, timeout=100)[1]
