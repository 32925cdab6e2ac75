"""The search for the best way to serve: what it leaves out, how it narrows down, what it takes within limits."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medseg.bench.judge.limits import in_mebibytes, in_seconds
from medseg.bench.lineup import Entry, ways_to_serve
from medseg.bench.measure.load import Plan
from medseg.bench.measure.rounds import Loads
from medseg.bench.search import ALONE, LAST, LONG, Limits, Searched, search
from medseg.bench.show.searched import command, markdown
from medseg.cli.main import app
from medseg.errors import InputError
from medseg.tasks import task_named
from tests.bench.runs import bright_run

FILES = [Entry("openvino", one, "local") for one in ("fp32", "bf16", "int8")]
PER_S = {"fp32": 20.0, "bf16": 38.0, "int8": 40.0}
SCORES = {"fp32": 0.8, "bf16": 0.799, "int8": 0.795}


class Machine:
    """Answers what a benchmark of entries would: speed by precision, more with two instances and the plain decoder."""

    def __init__(self, **changes: dict[str, float]) -> None:
        self.per_s, self.scores = PER_S | changes.get("per_s", {}), SCORES | changes.get("scores", {})
        self.failing: set[str] = set()
        self.asked: list[tuple[list[Entry], Plan, Loads]] = []

    def __call__(self, entries: Sequence[Entry], plan: Plan, loads: Loads) -> dict:
        self.asked.append((list(entries), plan, loads))
        return {"main": "dice", "targets": [self._target(entry, loads) for entry in entries]}

    def _target(self, entry: Entry, loads: Loads) -> dict:
        per_s = self.per_s[entry.precision] * (1.2 if entry.instances == 2 else 1.0)
        per_s *= 1.1 if entry.decoder == "reference" else 1.0
        level = {"per_s": per_s, "summary": {"p95_s": 4 / per_s, "requests": 40, "errors": 0}}
        return {
            "name": entry.name,
            "problems": ["it ended"] if entry.name in self.failing else [],
            "serial": {"summary": {"p50_s": 1 / per_s}},
            "accuracy": {"dice": {"mean": self.scores[entry.precision]}},
            "levels": [level for _ in loads.concurrency],
            "usage": {"peak_server_mib": 500.0 * (entry.instances or 1)},
        }


def four_ways(entry: Entry) -> list[Entry]:
    several = [(decoder, count) for decoder in ("dali", "reference") for count in (1, 2)]
    return [replace(entry, where="served", decoder=decoder, instances=count) for decoder, count in several]


def found(machine: Machine, limits: Limits | None = None) -> Searched:
    return search(machine, FILES, four_ways, limits or Limits(), 4)


def test_the_fastest_way_within_the_limits_is_found_and_its_command_told() -> None:
    machine = Machine()
    result = found(machine)
    assert result.best
    assert result.best.entry == Entry("openvino", "int8", "served", "reference", instances=2)
    assert result.best.whole and result.best.score == 0.795
    words = "--engine openvino --precision int8 --decoder reference --instances 2"
    assert command("gi-tract", ["runs/a b"], result.best.entry) == f"medseg serve gi-tract --run 'runs/a b' {words}"
    assert "alone it takes 2.0 times" in result.left_out["openvino fp32, local"]


def test_each_round_asks_fewer_for_longer_and_the_last_as_a_report_does() -> None:
    machine = Machine()
    found(machine)
    (_, alone, none), *rounds = machine.asked
    assert none.concurrency == () and alone == ALONE
    counts = [len(entries) for entries, _, _ in rounds]
    assert counts == [8, 4, 2] and counts[-1] <= LAST
    assert [plan.limit_s for _, plan, _ in rounds[:-1]] == [1.5, 3.0]
    assert rounds[-1][1] == LONG and all(loads.concurrency == (4,) for _, _, loads in rounds)


@pytest.mark.parametrize(
    ("limits", "best"),
    [
        (Limits(drop=0.0), None),  # fp32 alone keeps its whole score, and is not slow beside nothing
        (Limits(drop=0.002), ("bf16", "reference", 2)),
        (Limits(memory_mib=600), ("int8", "reference", 1)),
        (Limits(p95_s=0.08), ("int8", "reference", 2)),
    ],
)
def test_limits_decide(limits: Limits, best: tuple | None) -> None:
    result = found(Machine(), limits)
    way = result.best
    assert way and not way.beyond
    assert (way.entry.precision, way.entry.decoder, way.entry.instances) == (best or ("fp32", "reference", 2))


def test_where_nothing_holds_the_limits_the_nearest_is_told() -> None:
    result = found(Machine(), Limits(p95_s=0.05))
    assert result.best is None and result.front == []
    said = markdown("gi-tract", ["runs/a"], 4, result)
    assert "Nothing holds the limits. The nearest is openvino int8, served, reference decoder, instances: 2" in said
    assert "p95 is 0.0758 s, at most 0.05 s is due" in said and "medseg serve" not in said


def test_what_fails_is_left_out_with_its_reason_and_the_rest_goes_on() -> None:
    machine = Machine()
    machine.failing = {"openvino bf16, local", "openvino int8, served, reference decoder, instances: 2"}
    result = found(machine)
    assert result.left_out["openvino bf16, local"] == "it ended"
    assert result.left_out["openvino int8, served, reference decoder, instances: 2"] == "it ended"
    assert result.best and result.best.entry.instances == 2 and result.best.entry.decoder == "dali"
    machine.failing = {entry.name for entry in FILES}
    with pytest.raises(InputError, match=r"no file of the runs can be searched among \(openvino fp32, local: it ended"):
        found(machine)


def test_without_fp32s_score_no_file_counts_as_one_that_keeps_it() -> None:
    machine = Machine(scores={"int8": 0.1})
    machine.failing = {"openvino fp32, local"}
    with pytest.raises(InputError, match="int8, local: its dice cannot be held to fp32's, which is not known or 0"):
        found(machine)
    result = found(machine, Limits(drop=1.0))
    assert result.best and result.best.entry.precision == "int8", "a user who takes any loss gets the fastest"


def test_the_front_holds_what_is_best_in_something() -> None:
    result = found(Machine())
    front = {(way.entry.precision, way.entry.instances) for way in result.front}
    assert front == {("int8", 2), ("int8", 1), ("bf16", 2), ("bf16", 1)}  # faster, smaller, more exact, or both
    assert all(way.entry.decoder == "reference" for way in result.front)
    assert "## The Pareto front" in markdown("gi-tract", [], 4, result)


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])])
def test_a_file_is_served_by_each_decoder_and_so_many_instances(
    monkeypatch: pytest.MonkeyPatch, cores: int, counts: list[int]
) -> None:
    monkeypatch.setattr("medseg.bench.lineup.cores", lambda: cores)
    for task, decoders in (("gi-tract", ("dali", "reference")), ("luna", ("dali",))):
        ways = ways_to_serve(task_named(task), FILES[0])
        assert [(way.decoder, way.instances) for way in ways] == [(one, n) for one in decoders for n in counts]
        assert len({way.name for way in ways}) == len(ways) and {way.where for way in ways} == {"served"}


@pytest.mark.parametrize(("text", "value"), [("200ms", 0.2), ("0.2s", 0.2), ("3 s", 3.0)])
def test_times_are_understood(text: str, value: float) -> None:
    assert in_seconds(text) == pytest.approx(value)


@pytest.mark.parametrize(("text", "value"), [("1GiB", 1024), ("512MiB", 512), ("2GB", 1907.35), ("800 MB", 762.94)])
def test_sizes_are_understood(text: str, value: float) -> None:
    assert in_mebibytes(text) == pytest.approx(value, abs=0.01)


@pytest.mark.parametrize("text", ["", "200", "ms", "-1ms", "0s", "2 minutes", "1e3s", "nan s"])
def test_other_amounts_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected more than 0 ms or s, such as 200ms"):
        in_seconds(text)
    with pytest.raises(InputError, match="expected more than 0 MB or GB"):
        in_mebibytes(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--p95", "200ms"], "expected --search with them"),
        (["--search"], "got both or neither"),
        (["--search", "--url", "localhost:1"], "--search got no --run"),
        (["--search", "--p95", "soon"], "--p95 is 'soon'; expected more than 0 ms or s"),
    ],
)
def test_a_search_that_cannot_be_is_refused(tmp_path: Path, words: list[str], said: str) -> None:
    run = bright_run(tmp_path / "run", task_named("gi-tract").networks[0])
    runs = [] if len(words) == 1 or "--url" in words else ["--run", str(run.path)]
    done = CliRunner().invoke(app, ["bench", "gi-tract", *runs, *words, "--out", str(tmp_path / "out")])
    assert done.exit_code and said in str(done.exception or "") + done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_a_real_search_ends_with_a_command(tmp_path: Path) -> None:
    run = bright_run(tmp_path / "run", task_named("gi-tract").networks[0])
    words = ["bench", "gi-tract", "--run", str(run.path), "--search", "--p95", "30s", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0 and "medseg serve gi-tract" in done.stdout
    kept = json.loads((tmp_path / "out/search.json").read_text())
    assert kept["command"] in done.stdout and kept["best"]["per_s"] > 0 and not kept["best"]["beyond"]
