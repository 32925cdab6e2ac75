"""The commands of the README and of the first hour, executed as they stand there, from the first to the last."""

import csv
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medseg import __version__
from tests.docs.blocks import ROOT, blocks
from tests.shared import SHARED, needs_shared

pytestmark = [pytest.mark.long, pytest.mark.timeout(3 * 3600)]
HERE = "executed: tests/docs/test_executed.py"
SERVED = """{command} > served.txt &
server=$!
trap 'kill $server; wait $server' EXIT
until grep -q '^serving' served.txt; do kill -0 $server; sleep 1; done"""  # before the second terminal
CURL = """#!/bin/sh
for name in seg_2020-01-26_19.45.12_w4d3c1-bal_1_nodupe-label_pos-d1_fn8-adam \\
    cls_2020-02-06_14.16.55_final-nodule-nonnodule; do
  case "$2" in *"$name"*) cp "{weights}/$name.best.state" . ;; *) exit 22 ;; esac
done
"""


def script(page: str) -> str:
    """The page's executed commands as one script; a server of theirs runs beside those that follow."""
    lines = [command for block in blocks(ROOT / page) if block.mark == HERE for command in block.commands]
    assert lines
    return "\n".join(SERVED.format(command=line) if line.startswith("medseg serve ") else line for line in lines)


def execute(text: str, folder: Path, programs: Path, **more: str) -> None:
    """Run the script in the folder, with these programs before others."""
    with socket.socket() as free:
        if not free.connect_ex(("127.0.0.1", 8000)):
            pytest.skip("port 8000, which the documentation names, is in use")
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=os.environ | {"PATH": path} | more,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@needs_shared
def test_the_readme_leads_from_nothing_to_nodules(tmp_path: Path) -> None:
    """With this tree's wheel for medseg, and the weights from beside the checkout in place of their address."""
    build = [sys.executable, "-m", "uv", "build", "--quiet", "--wheel", "--out-dir", tmp_path / "dist", ROOT]
    subprocess.run(build, check=True)
    (tmp_path / "constraint.txt").write_text(f"medseg == {__version__}\n")
    programs, work = tmp_path / "programs", tmp_path / "work"
    programs.mkdir()
    (programs / "curl").write_text(CURL.format(weights=SHARED / "weights/luna"))
    (programs / "curl").chmod(0o755)
    shutil.copytree(SHARED / "data/luna/subset0", work / "my-ct")
    text = script("README.md")
    assert len([line for block in blocks(ROOT / "README.md") if block.mark == HERE for line in block.commands]) < 10
    execute(
        text, work, programs, PIP_FIND_LINKS=str(tmp_path / "dist"), PIP_CONSTRAINT=str(tmp_path / "constraint.txt")
    )
    first = places(work / "answers/nodules.csv", "center_x_mm", "center_y_mm", "center_z_mm")[:3]
    for nodule in places(SHARED / "data/luna/annotations.csv", "coordX", "coordY", "coordZ"):
        assert np.linalg.norm(first - nodule, axis=1).min() < 3


def places(table: Path, *columns: str) -> np.ndarray:
    """(n, 3) mm: a row for each nodule of the table."""
    with table.open() as lines:
        return np.array([[float(row[name]) for name in columns] for row in csv.DictReader(lines)])


def test_the_first_hour_ends_with_a_report_and_the_server_answers_alike(tmp_path: Path) -> None:
    execute(script("docs/first-hour.md"), tmp_path, tmp_path)
    here, served = (sorted((tmp_path / name).rglob("*mask*")) for name in ("answers", "served"))
    assert here and [one.read_bytes() for one in here] == [one.read_bytes() for one in served]
    assert (tmp_path / "bench/report.html").is_file()
