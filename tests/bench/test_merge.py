"""Several bench.json as one report, and as a history."""

import copy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medseg.bench.merge import merged
from medseg.bench.show.history import write_history
from medseg.bench.show.report import write_report
from medseg.bench.stored import read_json
from medseg.cli.main import app
from medseg.errors import InputError
from tests.bench.test_report import record


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three benchmarks: one day, the next, and another machine with a GPU."""
    first, folder = record(), tmp_path_factory.mktemp("several")
    for target in first["targets"]:
        target["levels"] = target["levels"][:1]
    gpu = {"name": "NVIDIA H100", "driver": "1", "memory_gib": 80.0, "clock_mhz": 1, "clock_limit_mhz": 1}
    for number, started in enumerate(
        ("2026-01-01T10:00:00+00:00", "2026-01-02T10:00:00+00:00", "2026-01-03T10:00:00+00:00")
    ):
        one = copy.deepcopy(first) | {"started": started}
        one["machine"] = one["machine"] | {"gpu": gpu if number == 2 else None}
        write_report(folder / str(number), one)
    return [folder / str(number) / "bench.json" for number in range(3)]


def test_machines_and_days_stand_side_by_side(written: list[Path], tmp_path: Path) -> None:
    whole = merged([written[0], written[2]])
    assert [target["name"].split(", ")[-1] for target in whole["targets"]][2:] == ["NVIDIA H100"] * 2
    assert whole["targets"][3]["paired"]["dice"]["cases"] == 6
    days = [target["name"] for target in merged(written[:2])["targets"]]
    assert days[0].endswith("2026-01-01") and days[3].endswith("2026-01-02") and "cores" not in days[0]
    done = CliRunner().invoke(app, ["bench", "--merge", *map(str, written), "--out", str(tmp_path / "all")])
    assert done.exit_code == 0, done.exception
    page = (tmp_path / "all" / "report.html").read_text()
    assert page.count("2026-01-02 10:00 UTC") >= 1 and "Take " in page and "NVIDIA H100" in page
    assert len(read_json(tmp_path / "all" / "bench.json")["targets"]) == 6


def test_what_cannot_stand_side_by_side_is_refused(written: list[Path], tmp_path: Path) -> None:
    other = read_json(written[0])
    other["cases"][0]["id"] = "another"
    write_report(tmp_path / "other", other)
    with pytest.raises(InputError, match="different cases"):
        merged([written[0], tmp_path / "other" / "bench.json"])
    write_report(tmp_path / "task", read_json(written[0]) | {"task": "stas"})
    with pytest.raises(InputError, match="expected one task"):
        merged([written[0], tmp_path / "task" / "bench.json"])
    for lone in (merged, lambda paths: write_history(paths, tmp_path)):
        with pytest.raises(InputError, match="two or more"):
            lone(written[:1])


def test_a_history_shows_trends_and_what_else_changed(written: list[Path], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["bench", "--history", *map(str, written[::-1]), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.exception
    page = (tmp_path / "history.html").read_text()
    assert page.count("<svg") == 3 and "2026-01-03 10:00 UTC: another machine, NVIDIA H100" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
