import json
import re
from pathlib import Path

import pytest

from medseg.bench.measure.load import Plan
from medseg.bench.measure.rounds import Loads
from medseg.bench.show.html import html
from medseg.bench.show.markdown import markdown
from medseg.bench.show.plots import waterfall
from medseg.bench.show.report import bad, with_comparison, write_report
from medseg.bench.show.tables import overall_rows, time
from medseg.bench.stored import read_json
from medseg.errors import InputError, ServerError
from tests.bench.measuring import measured
from tests.bench.servers import busy, question, target


def dice(answer: dict) -> dict[str, float]:
    return {"dice": float(answer["x"][0])}


QUICKLY = busy(0.005)


def record(behave=QUICKLY, names=("fast", "slow"), timeout_s: float = 60.0) -> dict:
    cases = [question(f"case {n}", 0.8 + n / 50) for n in range(6)]
    targets = [target(behave, names[0]), target(lambda n: busy(0.01)(n), names[1])]
    plan = Plan(0, 3, window_s=0.1, stable=1.0, timeout_s=timeout_s)
    return measured(targets, cases, Loads((1, 2), (50,)), plan, dice)


@pytest.fixture(scope="module")
def made() -> dict:
    return record()


def test_the_ledger_sums_to_the_median_and_the_report_has_every_part(made: dict, tmp_path: Path):
    for one in made["targets"]:
        took = sorted(timing["done_s"] - timing["sent_s"] for timing in one["serial"]["timings"])
        assert took[0] <= one["ledger"]["total_s"] <= took[-1] and took[0] <= one["ledger"]["median_s"] <= took[-1]
        assert sum(row["share"] for row in one["ledger"]["rows"]) == pytest.approx(1)
    assert made["targets"][1]["paired"]["dice"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "cases": 6}
    assert [one["case"] for one in made["pictures"]] == ["case 0", "case 1", "case 2", "case 3"]
    assert made["pictures"][0]["scores"] == {"fast": 0.8, "slow": 0.8}  # each case once, with all targets
    assert made["client"]["overhead_s"] > 0
    page = write_report(tmp_path, made).read_text()
    assert page.count("<svg") == 4 and page.count('alt="Case') == 4
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert not bad(made)


def test_bench_json_reads_back_with_its_raw_times(made: dict, tmp_path: Path):
    write_report(tmp_path, made)
    again = read_json(tmp_path / "bench.json")
    first = again["targets"][0]
    assert len(first["serial"]["timings"]) == 24
    assert len(first["levels"][0]["timings"]["done_s"]) == first["levels"][0]["summary"]["requests"]


def test_markdown_tables_are_rectangular(made: dict):
    for block in markdown(made).split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_a_mean_over_fewer_cases_than_anothers_says_so(tmp_path: Path):
    def die(n: int) -> None:
        busy(0.005)(n)
        if n > 2:
            raise ServerError("connection refused")

    made = record(die)
    few, all_ = (one["accuracy"]["dice"]["cases"] for one in made["targets"])
    page = write_report(tmp_path, made).read_text()
    assert 0 < few < all_ == 6
    assert f"on {few} of 6 cases |" in markdown(made) and f"fast, on {few} of 6 cases" in page
    assert "(nothing else was measured without a failure)" in page
    assert "slow, on" not in page and "of 6 cases" not in markdown(record())


@pytest.mark.parametrize(("count", "across"), [(2, "target"), (9, "score")])
def test_scores_over_all_cases_stand_upright_if_there_are_many(made: dict, count: int, across: str):
    mean = {"mean": 0.5, "low": None, "high": None, "cases": 6}
    targets = [one | {"accuracy": {f"at {n}": mean for n in range(count)}, "counts": {}} for one in made["targets"]]
    header, rows = overall_rows(made | {"targets": targets})
    names, scores = ["fast", "slow"], [f"at {n}" for n in range(count)]
    assert header == [across, *(scores if across == "target" else names)]
    assert [row[0] for row in rows] == (names if across == "target" else scores)
    assert {str(cell) for row in rows for cell in row[1:]} == {"0.5000"}
    assert overall_rows(made) == (["target"], [])


def test_a_server_that_dies_midway_is_reported_and_the_others_are_still_measured(tmp_path: Path):
    def die(n: int) -> None:
        busy(0.005)(n)
        if n > 10:
            raise ServerError("connection refused")

    made = record(die)
    page = write_report(tmp_path, made).read_text()
    assert bad(made)
    assert "requests failed: ServerError: connection refused" in page
    assert made["targets"][0]["serial"]["summary"]["errors"] == 15  # the first of the 10 good answers was the cold one
    assert not made["targets"][1]["problems"]


def test_a_server_that_stalls_is_reported(tmp_path: Path):
    made = record(lambda n: busy(1.5 if n == 4 else 0.005)(n), timeout_s=0.5)
    assert any("timeout" in problem for problem in made["targets"][0]["problems"])
    assert "timeout" in write_report(tmp_path, made).read_text()


def test_a_comparison_is_part_of_every_file(made: dict, tmp_path: Path):
    before, after = write_report(tmp_path / "a", made), record(busy(0.02))
    compared = with_comparison(after, read_json(before.parent / "bench.json"), {"p50": 0.1, "score": -0.001})
    write_report(tmp_path / "b", compared)
    assert bad(compared)
    for name in ("report.html", "report.md", "junit.xml", "bench.json"):
        assert "worse" in (tmp_path / "b" / name).read_text()


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"schema": 0})])
def test_a_file_that_is_no_bench_json_is_refused_by_name(tmp_path: Path, text: str):
    (tmp_path / "old.json").write_text(text)
    with pytest.raises(InputError, match=r"old\.json"):
        read_json(tmp_path / "old.json")


def test_a_gpus_memory_and_power_are_shown_where_there_is_one(made: dict):
    assert "GPU memory" not in markdown(made)
    first, second = made["targets"]
    used = first | {"usage": first["usage"] | {"peak_gpu_mib": 1234.4, "mean_gpu_watts": 87.6}}
    gpu = made | {"targets": [used, second]}
    lines = [line for line in markdown(gpu).splitlines() if "1234 MiB" in line]
    assert len(lines) == 1 and lines[0].endswith("| 1234 MiB | 88 W |")
    page = html(gpu)
    assert 'data-value="1234.4"' in page and 'data-value="87.6"' in page


def test_numbers_keep_their_value_and_missing_ones_come_last():
    assert (str(time(0.012)), time(0.012).key) == ("12 ms", "0.012")
    assert (str(time(1.2)), time(1.2).key) == ("1.20 s", "1.2")
    assert (str(time(None)), time(None).key) == ("-", "")


def test_a_change_said_to_be_0_is_drawn_as_none():
    start = {"target": "a", "metric": "dice", "score": 0.4399}
    drawn = waterfall([start, {"target": "b", "from": "a", "metric": "dice", "score": 0.4399 + 1e-6}])
    assert drawn is not None
    said = re.findall(r"<text[^>]*>([^<]*)<", drawn)
    axis = [float(text) for text in said[2 : said.index("dice")]]
    assert axis[0] < 0.4385 and axis[-1] > 0.4410  # an axis of millionths would make a tall bar of it
    assert said[-1] == "0"
