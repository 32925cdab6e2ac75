"""Exports judged on the list: what a reader would be shown by the whole chain with a file in it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.engines import open_engine
from medseg.errors import ExportError
from medseg.export import lists as module
from medseg.export.chain import export_together
from medseg.export.judges import judges_of
from medseg.export.lists import Changes, Lists, changes
from medseg.export.options import ExportOptions
from medseg.run import Run
from medseg.task import Array, Infer
from medseg.tasks import task_named
from tests.bench.runs import bright_run

NEAR_MM = 5.0


def _list(*rows: tuple[float, float]) -> Array:
    """Items on a line: x in mm and probability."""
    return np.array([[x, 0, 0, probability] for x, probability in rows], float).reshape(-1, 4)


FULL = _list((0, 0.9), (10, 0.6), (20, 0.2))


@pytest.mark.parametrize(
    ("expected", "found", "due"),
    [
        (FULL, FULL, Changes(2, 0, 0, 0.0)),
        (FULL, FULL[::-1], Changes(2, 0, 0, 0.0)),
        (FULL, _list((4.9, 0.8), (10, 0.6), (20, 0.2)), Changes(2, 0, 0, 0.1)),
        (FULL, _list((5.1, 0.9), (10, 0.6), (20, 0.2)), Changes(2, 1, 1, 0.9)),  # too far to be the same
        (FULL, _list((0, 0.9), (10, 0.49)), Changes(2, 1, 0, 0.11)),  # under the threshold
        (FULL, _list((0, 0.9), (20, 0.2)), Changes(2, 1, 0, 0.6)),  # vanished
        (FULL, _list((0, 0.9), (10, 0.6), (20, 0.5)), Changes(2, 0, 1, 0.3)),  # what was unlikely is listed now
        (FULL, _list((0, 0.9), (10, 0.6), (20, 0.2), (90, 0.7)), Changes(2, 0, 1, 0.7)),
        (FULL, _list((0, 0.9), (10, 0.6), (20, 0.4), (90, 0.4)), Changes(2, 0, 0, 0.0)),  # nobody is shown those
        (FULL, FULL[:0], Changes(2, 2, 0, 0.9)),
        (FULL[:0], FULL, Changes(0, 0, 2, 0.9)),
        (FULL[:0], FULL[:0], Changes(0, 0, 0, 0.0)),
        # Two nodules that became one: one is lost, though both have a listed item near.
        (_list((0, 0.9), (3, 0.8)), _list((1.5, 0.9)), Changes(2, 1, 0, 0.8)),
        # The nearest is unlikely, but another near one is listed: nothing is lost.
        (_list((0, 0.9)), _list((1, 0.3), (2, 0.85)), Changes(1, 0, 0, 0.05)),
    ],
)
def test_what_a_list_loses_and_gains(expected: Array, found: Array, due: Changes) -> None:
    result = changes(expected, found, 0.5, NEAR_MM)
    assert replace(result, probability_change=0.0) == replace(due, probability_change=0.0)
    assert result.probability_change == pytest.approx(due.probability_change)


def test_thousands_of_unlikely_candidates_are_no_burden() -> None:
    places = np.random.default_rng(0).uniform(0, 300, (50_000, 3))
    crowd = np.column_stack([places, np.full(50_000, 0.01)])
    full = np.concatenate([crowd, [[100, 100, 100, 0.9]]])
    assert changes(full, crowd[::-1], 0.5, NEAR_MM).lost == 1
    assert changes(full, full[::-1], 0.5, NEAR_MM) == Changes(1, 0, 0, 0.0)


def test_changes_add_up_over_scans() -> None:
    assert Changes(2, 1, 0, 0.1) + Changes(3, 0, 2, 0.4) == Changes(5, 1, 2, 0.4)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """LUNA's networks as a few nodes: what is denser than -300 HU is a candidate, and dense crops are nodules."""
    folder = tmp_path_factory.mktemp("runs")
    levels = {"luna-segment": -300.0, "luna-nodule": -800.0, "luna-malignancy": -400.0}
    return [bright_run(folder / name, task_named("luna").network(name), level) for name, level in levels.items()]


def _lists(runs: list[Run], data: Path | None = None) -> Lists:
    found = judges_of(runs[:1], runs[1:], data, 0)[runs[0].path].lists
    assert found is not None
    return found


class Counted:
    """A network that answers as a run's file does, with its logits moved, and counts its calls."""

    def __init__(self, infer: Infer, moved: float = 0.0) -> None:
        self.infer, self.moved, self.calls = infer, moved, 0

    def __call__(self, batch: Array) -> Array:
        self.calls += 1
        logits = self.infer(batch).copy()
        logits[:, -1] += self.moved
        return logits


def _file(run: Run) -> Infer:
    return open_engine("openvino", run.path / "fp32.onnx")


def test_the_same_network_keeps_the_list_of_a_made_up_scan(runs: list[Run]) -> None:
    facts = _lists(runs).judged("luna-nodule", "fp16", _file(runs[1]), 0)
    assert facts["judged"] and facts["listed"] > 0
    assert (facts["lost"], facts["gained"], facts["probability_change"]) == (0, 0, 0.0)
    assert facts["scans"] == "1 made-up scan"
    assert facts["beside"] == {"luna-segment": "fp32", "luna-malignancy": "fp32"}


@pytest.mark.parametrize("broken", ["luna-segment", "luna-nodule", "luna-malignancy"])
def test_a_file_that_loses_what_fp32_lists_is_refused_whichever_network_it_is(runs: list[Run], broken: str) -> None:
    lists, run = _lists(runs), next(run for run in runs if run.network == broken)
    gone = Counted(_file(run), -1e4)
    with pytest.raises(ExportError, match=rf"bf16.onnx of {broken} is not recorded: it loses \d+ of the \d+ that fp32"):
        lists.judged(broken, "bf16", gone, 0)
    facts = lists.judged(broken, "bf16", gone, 10_000)
    assert 0 < facts["lost"] <= facts["listed"]


def test_a_network_is_judged_beside_the_others_in_its_own_precision(runs: list[Run]) -> None:
    """What was accepted in int8 answers beside the next int8 file, and its own part is not computed again."""
    lists, segment = _lists(runs), Counted(_file(runs[0]))
    lists.judged("luna-segment", "int8", segment, 0)
    calls = segment.calls
    facts = lists.judged("luna-nodule", "int8", _file(runs[1]), 0)
    assert facts["beside"] == {"luna-segment": "int8", "luna-malignancy": "fp32"}
    assert segment.calls == calls > 0
    assert lists.judged("luna-nodule", "bf16", _file(runs[1]), 0)["beside"]["luna-segment"] == "fp32"


def test_a_refused_file_is_not_what_the_next_ones_are_judged_beside(runs: list[Run]) -> None:
    lists = _lists(runs)
    with pytest.raises(ExportError):
        lists.judged("luna-segment", "int8", Counted(_file(runs[0]), -1e4), 0)
    assert lists.judged("luna-nodule", "int8", _file(runs[1]), 0)["beside"]["luna-segment"] == "fp32"


@pytest.mark.parametrize("refused", ["by the list", "by another judge"])
def test_the_next_file_of_a_precision_is_judged_by_its_own_answers(runs: list[Run], refused: str) -> None:
    """A search in one export tries several files of a network, each in its own chain; a refused one leaves nothing."""
    judges = judges_of(runs[:1], runs[1:], None, 0)[runs[0].path]
    lists, gone = judges.lists, Counted(_file(runs[0]), -1e4)
    assert lists
    if refused == "by the list":
        with pytest.raises(ExportError):
            lists.judged("luna-segment", "int8", gone, 0)
    else:
        lost = lists.judged("luna-segment", "int8", gone, 10_000)["lost"]
        with pytest.raises(ExportError), lists._chain.trying("luna-segment", "int8", gone):
            raise ExportError(f"its score is too low, and it loses {lost}")
    facts = lists.judged("luna-segment", "int8", _file(runs[0]), 0)
    assert facts["judged"] and (facts["lost"], facts["gained"]) == (0, 0)
    kept = {version for scan in lists._scans or () for _, *used in scan.made for _, version in used}
    assert kept == {"recorded fp32", "new 2 int8"}


def test_the_nodule_network_alone_is_judged_on_the_tables_candidates(runs: list[Run], tmp_path: Path) -> None:
    task_named("luna").known_data("test").phantom(tmp_path, 2, 3)
    nodule = Counted(_file(runs[1]))
    facts = _lists([runs[1]], tmp_path).judged("luna-nodule", "fp16", nodule, 0)
    assert facts["judged"] and facts["listed"] > 0 and facts["beside"] == {}
    assert facts["scans"] == f"2 of the scans in {tmp_path}"
    with pytest.raises(ExportError, match="it loses"):
        _lists([runs[1]], tmp_path).judged("luna-nodule", "fp16", Counted(_file(runs[1]), -1e4), 0)


@pytest.mark.parametrize("alone", ["luna-segment", "luna-malignancy"])
def test_networks_that_give_no_probabilities_alone_are_not_judged_and_say_so(runs: list[Run], alone: str) -> None:
    run = next(run for run in runs if run.network == alone)
    assert _lists([run]).judged(alone, "fp16", Counted(_file(run)), 0) == {
        "judged": False,
        "because": f"without the other networks {alone} gives no probabilities",
    }


def test_at_most_four_scans_are_judged_on(runs: list[Run], tmp_path: Path) -> None:
    task_named("luna").known_data("test").phantom(tmp_path, 5, 0)
    facts = _lists([runs[1]], tmp_path).judged("luna-nodule", "fp16", _file(runs[1]), 0)
    assert facts["scans"].startswith("4 of the scans")


def test_tasks_without_a_list_have_none_to_judge(tmp_path: Path) -> None:
    run = bright_run(tmp_path / "run", task_named("gi-tract").networks[0])
    assert judges_of([run], [], None, 0)[run.path].lists is None


def test_runs_of_one_network_have_a_chain_each(runs: list[Run], tmp_path: Path) -> None:
    other = bright_run(tmp_path / "other", task_named("luna").network("luna-nodule"), -700.0)
    chains = judges_of([runs[0], runs[1], other], [], None, 0)
    assert chains[runs[0].path] is chains[runs[1].path] is not chains[other.path]


def test_a_refused_file_is_not_written_and_all_others_are(
    luna_runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two runs that fail alike both are told. There are two lists, of nodules and of malignant ones."""

    def most(expected: Array, found: Array, threshold: float, near_mm: float) -> Changes:
        return Changes(3, 1, 0, 0.2)

    monkeypatch.setattr(module, "changes", most)
    runs = [Run(shutil.copytree(one.path, tmp_path / one.network)) for one in luna_runs[1:]]
    failed = export_together(runs, ExportOptions(fp16=True, samples=2), lambda run, stage: None)
    assert set(failed) == {str(run.path / "fp16.onnx") for run in runs}
    assert all("loses 2 of the 6 that fp32 lists, at most 0 may be lost" in reason for reason in failed.values())
    assert not any("fp16.onnx" in run.files or (run.path / "fp16.onnx").exists() for run in runs)
    assert not export_together(runs, ExportOptions(fp16=True, samples=2, lost=2), lambda run, stage: None)
    facts = runs[1].files["fp16.onnx"]["list"]
    assert (facts["lost"], facts["most_lost"], facts["probability_change"]) == (2, 2, 0.2)
