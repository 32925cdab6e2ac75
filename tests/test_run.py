import subprocess
import sys

import pytest

from medseg.errors import RunError
from medseg.run import Run
from tests.patience import PATIENCE_S


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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
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


def test_a_link_out_of_the_run_is_refused(tmp_path):
    (tmp_path / "outside").write_bytes(b"first")
    run = Run.create(tmp_path / "run", "made", {}, {})
    with run.adding("first.bin", {}) as path:
        path.write_bytes(b"first")
    (run.path / "first.bin").unlink()
    (run.path / "first.bin").symlink_to(tmp_path / "outside")
    assert "a link out of the run" in run.problems()[0]
    with pytest.raises(RunError, match="a link out of the run"):
        run.held("first.bin")


def test_a_changed_file_is_not_opened_unless_it_is_to_be(tmp_path):
    run = Run.create(tmp_path / "run", "made", {}, {})
    with run.adding("first.bin", {"precision": "fp32"}) as path:
        path.write_bytes(b"first")
    assert run.held("first.bin") == run.file(precision="fp32") == run.path / "first.bin"
    (run.path / "first.bin").write_bytes(b"other")
    with pytest.raises(RunError, match=r"first\.bin: its bytes changed .*--no-verify"):
        run.file(precision="fp32")
    run.verify = False
    assert run.file(precision="fp32") == run.path / "first.bin"
    run.verify = True
    (run.path / "first.bin").unlink()
    with pytest.raises(RunError, match=r"first\.bin: missing"):
        run.held("first.bin")


WRITER = """
import sys
from medseg.run import Run
run = Run(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    with run.adding(f"{sys.argv[2]}{number}.bin", {"precision": "fp32"}) as path:
        path.write_text(sys.argv[2])
    run.record(**{sys.argv[2]: number})
"""


def test_two_writers_lose_nothing(tmp_path):
    run = Run.create(tmp_path / "run", "made", {}, {})
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, run.path, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in ("a", "b")
    ]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.close()
    assert [writer.wait(PATIENCE_S) for writer in writers] == [0, 0]
    run = Run(run.path)
    assert set(run.files) == {f"{name}{number}.bin" for name in "ab" for number in range(20)}
    assert run.manifest["a"] == run.manifest["b"] == 19 and not run.problems()
    assert {path.name for path in run.path.iterdir()} == {"manifest.json", *run.files}


def test_a_lock_that_is_not_given_back_is_told_with_its_owner(tmp_path, monkeypatch):
    monkeypatch.setattr("medseg.lock._PATIENCE_S", 0.1)
    run = Run.create(tmp_path / "run", "made", {}, {})
    code = "import sys\nfrom pathlib import Path\nfrom medseg.lock import locked\n"
    code += "with locked(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, run.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunError, match=rf"is being written by process {holder.pid} on .*, since \d+ s"):
        run.record(a=1)
    holder.kill()  # the lock ends with its owner; the lock file stays
    holder.wait()
    assert (run.path / ".lock").is_file()
    run.record(a=1)
    assert Run(run.path).manifest["a"] == 1 and not (run.path / ".lock").exists()
