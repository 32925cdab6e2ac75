"""Ctrl-C: what was measured is reported, and the exit code says that it is not all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

from medseg.bench.show.report import bad, write_report
from medseg.tasks import task_named
from tests.bench.measuring import measured
from tests.bench.runs import bright_run
from tests.bench.servers import busy, question, target
from tests.patience import PATIENCE_S

SCRIPT = """
import sys
from pathlib import Path
from medseg.bench.measure.load import Plan
from medseg.bench.show.report import bad, write_report
from tests.bench.measuring import measured
from tests.bench.servers import busy, question, target

def behave(n):
    if n == 8:
        Path(sys.argv[1], "busy").touch()
    busy(0.05)(n)

plan = Plan(warmup=0, rounds=1000)
made = measured([target(behave, "first"), target(name="second")], [question()], plan=plan)
write_report(Path(sys.argv[1]), made)
raise SystemExit(bad(made))
"""


def test_ctrl_c_leaves_a_report_that_says_so_and_exits_with_1(tmp_path: Path):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path)], env=os.environ | {"PYTHONPATH": "."})
    deadline = monotonic() + PATIENCE_S
    while not (tmp_path / "busy").exists() and monotonic() < deadline:
        sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 1
    made = json.loads((tmp_path / "bench.json").read_text())
    (first,) = made["targets"]  # the second was not begun
    assert made["interrupted"] and first["interrupted"]
    assert len(first["serial"]["timings"]) >= 5 and first["ledger"]
    assert "interrupted: the rest was not measured" in first["problems"]
    for name in ("report.html", "report.md"):
        assert "Ctrl-C" in (tmp_path / name).read_text()


TERMINATED = """
import os, signal, sys
from contextlib import nullcontext
from dataclasses import replace
from medseg.bench import cases, lineup
from medseg.bench.lineup import Opening
from medseg.cli.main import main
from tests.bench.servers import question, target

killing = target(lambda n: n == 8 and os.kill(os.getpid(), signal.SIGTERM), "killing")
lineup.lineup = lambda *_: [Opening("killing", {}, lambda: nullcontext(killing))]
cases.cases_of = lambda *_: [replace(question(), known=False)]
sys.argv = ["medseg", "bench", *sys.argv[1:]]
main()
"""


def test_a_kill_leaves_a_report_too(tmp_path: Path):
    task = task_named("gi-tract")
    run = bright_run(tmp_path / "run", task.networks[0]).path
    words = ["gi-tract", f"--run={run}", "--where=local", f"--out={tmp_path / 'out'}"]
    ended = subprocess.run(
        [sys.executable, "-c", TERMINATED, *words], env=os.environ | {"PYTHONPATH": "."}, timeout=PATIENCE_S
    )
    assert ended.returncode == 1
    assert json.loads((tmp_path / "out" / "bench.json").read_text())["interrupted"]
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_whole_run_does_not_say_that_it_was_interrupted(tmp_path: Path):
    made = measured([target(busy(0.001))], [question()])
    assert not made["interrupted"] and not bad(made)
    assert "Ctrl-C" not in write_report(tmp_path, made).read_text()
