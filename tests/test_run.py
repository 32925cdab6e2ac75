import subprocess
import sys

import pytest

from medseg.errors import RunError
from medseg.run import Run


def test_a_manifest_that_cannot_be_written_leaves_no_unrecorded_file(tmp_path):
    run = Run.create(tmp_path / "run", "made", {}, {"kind": "test"})
    with run.adding("first.bin", {}) as path:
        path.write_bytes(b"first")
    before = (run.path / "manifest.json").read_bytes()
    code = f"""
import resource, signal
from medseg.run import Run
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
run = Run({str(run.path)!r})
for name in ("first.bin", "second.bin"):
    try:
        with run.adding(name, {{"reason": "x" * 8192}}) as path:
            path.write_bytes(b"other")
    except OSError:
        print(name, sorted(run.files))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["first.bin ['first.bin']", "second.bin ['first.bin']"]
    assert sorted(path.name for path in run.path.iterdir()) == ["first.bin", "manifest.json"]
    assert (run.path / "first.bin").read_bytes() == b"first" and (run.path / "manifest.json").read_bytes() == before
    assert not Run(run.path).problems()


def test_an_interrupted_file_is_neither_there_nor_recorded(tmp_path):
    run = Run.create(tmp_path / "run", "made", {}, {})
    with pytest.raises(KeyError), run.adding("a.bin", {}) as path:
        path.write_bytes(b"half")
        raise KeyError
    assert [path.name for path in run.path.iterdir()] == ["manifest.json"] and not run.files


def test_a_second_run_in_a_folder_is_refused(tmp_path):
    Run.create(tmp_path / "run", "made", {}, {})
    with pytest.raises(RunError, match="already holds a run"):
        Run.create(tmp_path / "run", "made", {}, {})
