"""After a kill at any moment, a run is complete, unchanged or absent: no half-written file is taken for a file."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medseg.errors import RunError
from medseg.run import Run
from medseg.tasks import network_named

MAKER = """
import sys
from pathlib import Path
from medseg.run import Run, whole_run
print("ready", flush=True)
number = 0
while True:
    folder = Path(sys.argv[1]) / str(number)
    with whole_run(folder) as temporary:
        run = Run.create(temporary, "made", {}, {"kind": "test"})
        for name in ("a", "b"):
            with run.adding(f"{name}.bin", {}) as path:
                path.write_bytes(name.encode() * 300_000)
    for name in ("c", "a"):
        with Run(folder).adding(f"{name}.bin", {}) as path:
            path.write_bytes(name.encode() * 300_000)
    number += 1
"""


def killed(command: list[object], seconds: float) -> None:
    """Start a process, and kill it so many seconds after it said that it is ready."""
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline()
    time.sleep(seconds)
    process.kill()
    process.wait()


@pytest.mark.parametrize("seed", range(5))
def test_a_killed_writer_leaves_whole_runs(tmp_path, seed):
    killed([sys.executable, "-c", MAKER, tmp_path], random.Random(seed).uniform(0.02, 0.4))
    for folder in tmp_path.iterdir():
        assert is_whole(folder)
        with Run(folder).adding("d.bin", {}) as path:  # no lock is left that would block the next writer
            path.write_bytes(b"d")
        assert not Run(folder).problems()


def is_whole(folder: Path) -> bool:
    """Whether a folder holds a run whose files are all as recorded; if it holds no run yet, one is created."""
    try:
        run = Run(folder)
    except RunError as error:
        assert "has no manifest.json" in str(error)
        Run.create(folder, "made", {}, {"kind": "test"})
        return True
    return {"a.bin", "b.bin"} <= set(run.files) and not run.problems()


@pytest.mark.long
def test_a_killed_import_is_whole_or_does_not_hold_up_the_next(tmp_path):
    options = {"context": 3, "features": 2, "depth": 3}
    torch.save(network_named("luna-segment").build(**options).state_dict(), tmp_path / "w.pt")
    code = "import sys, torch, medseg.export.graph, medseg.train.weights\nprint('ready', flush=True)\n"
    code += "sys.argv[0] = 'medseg'\nfrom medseg.cli.main import main\nmain()"
    words = ["import", "luna-segment", tmp_path / "w.pt", "--features", "2", "--out"]
    for number in range(20):
        out = tmp_path / str(number)
        killed([sys.executable, "-c", code, *words, out], random.Random(number).uniform(0, 8))
        if (out / "manifest.json").is_file():
            assert set(Run(out).files) == {"weights.pt", "fp32.pt2"} and not Run(out).problems()
        else:
            subprocess.run([sys.executable, "-c", code, *map(str, words), out], check=True, capture_output=True)
            assert not Run(out).problems()
