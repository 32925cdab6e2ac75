"""The whole command on every task's made-up patients: the scores, ledgers, pictures and problems of each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medseg.bench.cases import made_up
from medseg.cli.main import app
from medseg.tasks import task_named
from tests.bench.runs import bright_run

LEVELS = {"luna-segment": 300.0, "luna-nodule": -700.0}  # HU: bones are candidates, and what is no air is a nodule
TASKS = {
    "luna": ("scan_cpm", ["luna-segment", "luna-nodule"], ["--where", "local"]),
    "gi-tract": ("score", ["gi-tract"], ["--where", "local"]),
    "brain-lgg": ("dice", ["brain-lgg"], ["--where", "served"]),
    "stas": ("dice", ["stas-efficientnetv2-m", "stas-eca-nfnet-l2", "stas-efficientnet-b6"], []),
}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_measured_scored_and_drawn(name: str, tmp_path: Path):
    metric, networks, where = TASKS[name]
    task, out = task_named(name), tmp_path / "bench"
    data = made_up(task, tmp_path / "data")
    runs = [bright_run(tmp_path / one, task.network(one), LEVELS.get(one, 0.5)) for one in networks]
    options = [word for run in runs for word in ("--run", str(run.path))]
    options += ["--quick", "--cases", "2", "--out", str(out), "--json", *where]
    result = CliRunner().invoke(app, ["bench", name, str(data), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    record = json.loads((out / "bench.json").read_text())
    assert [target["name"] for target in record["targets"]] == (
        [f"openvino fp32, {where[1]}"] if where else ["openvino fp32, local", "openvino fp32, served"]
    )
    for target in record["targets"]:
        assert metric in target["accuracy"] and record["main"] == metric and len(target["answers"]) == 2
        assert target["ledger"]["total_s"] == pytest.approx(target["ledger"]["median_s"], rel=0.03)
        assert any(row["items"] for row in target["ledger"]["rows"]) or target["fan_out"][networks[0]] > 1
    assert len(record["pictures"]) == (1 if name == "gi-tract" else 2)  # of slices the scan that they are of
    assert all(len(picture["scores"]) == len(record["targets"]) for picture in record["pictures"])
    assert len({json.dumps(target["answers"], sort_keys=True) for target in record["targets"]}) == 1
