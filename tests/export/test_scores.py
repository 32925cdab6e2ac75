"""Files judged by what the whole chain scores with them, and by how fast they are."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from medseg.errors import ExportError
from medseg.export import chain as module
from medseg.export.chain import export
from medseg.export.judges import Judges, judges_of
from medseg.export.options import ExportOptions
from medseg.export.parity import Budget
from medseg.export.samples import Calibration
from medseg.export.scores import Scores, verdict
from medseg.export.search import Lowered
from medseg.export.speed import compared, speed
from medseg.export.whole import as_judged
from medseg.metrics.definitions import HIGHER, metric_of
from medseg.run import Run
from medseg.task import Array, Infer, Network
from medseg.tasks import task_named, task_names
from medseg.train.weights import save_weights
from tests.bench.runs import bright_run
from tests.export.made import Hostile, run_of
from tests.export.made import network as made_network


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "brains"
    task_named("brain-lgg").known_data("test").phantom(folder, 6, 0)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return bright_run(tmp_path_factory.mktemp("runs") / "run", task_named("brain-lgg").networks[0])


def _scores(runs: list[Run], data: Path, patients: int = 2) -> Scores:
    found = judges_of(runs[:1], runs[1:], data, patients)[runs[0].path].scores
    assert found is not None
    return found


def _changed(infer: Infer, change: Callable[[Array], Array]) -> Infer:
    return lambda batch: change(infer(batch))


def test_the_same_network_holds_the_whole_score(run: Run, data: Path) -> None:
    facts = _scores([run], data).judged(run.network, "fp16", as_judged(run.path / "fp32.onnx", "fp32"), 0.99)
    assert facts["judged"] and facts["score"] == "dice" and 0 < facts["fp32"] == facts["file"]
    assert (facts["share"], facts["verdict"]) == (1.0, "99.9 %")
    assert facts["change"] == {"mean": 0.0, "low": 0.0, "high": 0.0, "cases": 2}
    assert facts["on"] == f"2 patients of {data} that no run has learnt from"


def test_a_network_that_finds_nothing_fails_and_is_refused_where_a_share_is_due(run: Run, data: Path) -> None:
    scores, infer = _scores([run], data), as_judged(run.path / "fp32.onnx", "fp32")
    nothing = _changed(infer, lambda logits: logits - 1e6)
    facts = scores.judged(run.network, "int8", nothing, None)
    assert (facts["file"], facts["share"], facts["verdict"]) == (0.0, 0.0, "fails")
    assert facts["change"]["mean"] == pytest.approx(-facts["fp32"], abs=1e-5)
    with pytest.raises(ExportError, match=r"int8.onnx of brain-lgg is not recorded: its dice is 0.0000, 0.00% of fp32"):
        scores.judged(run.network, "int8", nothing, 0.99)


@pytest.mark.parametrize(
    ("learnt", "on"),
    [(0, "3 patients of {} that no run has learnt from"), (5, "1 patient of {} that no run has learnt from"),
     (6, "3 patients of {} that the runs have learnt from")],
)  # fmt: skip
def test_patients_are_those_that_no_run_has_learnt_from(run: Run, data: Path, learnt: int, on: str) -> None:
    own = Run(run.path)
    own.manifest["source"] = {
        "split": {"train": sorted(task_named("brain-lgg").known_data("").patients(data))[:learnt]}
    }
    assert str(_scores([own], data, 3)._patients) == on.format(data)


def test_a_chain_that_cannot_be_scored_says_why(run: Run, data: Path, tmp_path: Path) -> None:
    infer = as_judged(run.path / "fp32.onnx", "fp32")
    for folder in data.iterdir():
        for file in folder.glob("*.tif"):
            if "_mask" not in file.name:
                (tmp_path / folder.name).mkdir(exist_ok=True)
                shutil.copyfile(file, tmp_path / folder.name / file.name)
    scores = _scores([run], tmp_path)
    facts = scores.judged(run.network, "fp16", infer, None)
    assert not facts["judged"] and "truth" in facts["because"]
    with pytest.raises(ExportError, match=r"fp16.onnx of brain-lgg cannot be judged by its score: .*truth"):
        scores.judged(run.network, "fp16", infer, 0.99)


def test_a_chain_without_all_its_networks_has_no_score(tmp_path: Path) -> None:
    run = bright_run(tmp_path / "run", task_named("luna").network("luna-segment"), -300.0)
    infer = as_judged(run.path / "fp32.onnx", "fp32")
    facts = _scores([run], tmp_path).judged(run.network, "fp16", infer, None)
    assert not facts["judged"] and "luna got no run of luna-nodule" in facts["because"]


@pytest.mark.parametrize("name", [name for name in task_names() if task_named(name).scoring])
def test_more_of_every_main_score_is_better(name: str) -> None:
    scoring = task_named(name).known_scoring("test")
    metric = metric_of(scoring.metrics, scoring.main)
    assert metric and metric.better == HIGHER


@pytest.mark.parametrize(
    ("share", "words"),
    [(1.01, "99.9 %"), (0.999, "99.9 %"), (0.9989, "99 %"), (0.99, "99 %"), (0.9899, "fails"), (0.0, "fails")],
)
def test_verdicts(share: float, words: str) -> None:
    assert verdict(share) == words


def test_what_a_score_refuses_goes_on_to_the_next_narrower_budget(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it holds with the widest budget is recorded, however little it agrees with torch."""
    network, asked, refused = task_named("brain-lgg").networks[0], list[Budget](), 2
    usual = module.half_within

    def half_within(full: onnx.ModelProto, network: Network, known: Calibration, budget: Budget) -> Lowered:
        asked.append(budget)
        return usual(full, network, known, budget)

    def judged(self: Scores, network: str, precision: str, infer: Infer, least: float | None) -> dict[str, object]:
        if len(asked) <= refused:
            raise ExportError("its score is too low")
        return {"judged": True, "least": least}

    monkeypatch.setattr(module, "half_within", half_within)
    monkeypatch.setattr(Scores, "judged", judged)
    monkeypatch.setattr(Scores, "because", "")  # made-up scores stand in for those of random weights
    own = Run.create(tmp_path / "run", network.name, {**network.options, "features": 2}, {"kind": "random"})
    save_weights(own, network.build(**own.options))
    options = ExportOptions(fp16=True, data=data, samples=2, budget="score")
    assert not export(own, network, options, lambda stage: None)
    assert [round(budget.dice, 6) for budget in asked] == [0.984, 0.996, 0.999]
    assert own.files["fp16.onnx"]["score"] == {"judged": True, "least": 0.99}
    assert own.files["fp16.onnx"]["budget"]["dice"] == 0.999
    asked.clear()
    refused = 0
    assert not export(own, network, options, lambda stage: None)
    assert own.files["fp16.onnx"]["budget"]["dice"] == pytest.approx(0.984)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_where_no_score_can_decide_nothing_is_recorded_by_it(tmp_path: Path, data: Path, precision: str) -> None:
    """As of a network that belongs to no task."""
    own = run_of(Hostile(), tmp_path / "run")
    options = ExportOptions(fp16=precision == "fp16", bf16=precision == "bf16", samples=2, budget="score", data=data)
    begun = module.Begun(own, made_network(Hostile), onnx.ModelProto(), Calibration([], [], ""), Judges())
    failed = module._finished(begun, options, lambda stage: None)
    assert "cannot be judged by their score: its task is not known" in failed[f"{precision}.onnx"]
    assert f"{precision}.onnx" not in own.files


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (ExportOptions(budget="fast"), "budget 'fast' is unknown; expected agreement or score"),
        (ExportOptions(budget="score"), "expected --calibration DATA"),
        (ExportOptions(budget="score", data=Path(), scored=0), "and --scored"),
    ],
)
def test_a_budget_that_cannot_be_held_is_refused_before_the_work(run: Run, options: ExportOptions, said: str) -> None:
    with pytest.raises(ExportError, match=said):
        export(run, task_named("brain-lgg").networks[0], options, lambda stage: None)


@pytest.mark.parametrize(
    ("shape", "options", "patients"),
    [
        ((2,), ExportOptions(), 4),
        ((1, 64, 64), ExportOptions(), 4),
        ((3, 32, 64, 64), ExportOptions(), 0),  # a volume takes minutes
        ((3, 32, 64, 64), ExportOptions(budget="score"), 1),
        ((3, 32, 64, 64), ExportOptions(scored=2), 2),
        ((1, 64, 64), ExportOptions(scored=0), 0),
    ],
)
def test_volumes_are_scored_where_somebody_says_so(
    shape: tuple[int, ...], options: ExportOptions, patients: int
) -> None:
    network = replace(task_named("brain-lgg").networks[0], output_shape=shape)
    assert module._patients(network, options) == patients


@pytest.mark.parametrize(("times", "faster"), [(0.9, False), (1.0, False), (1.04, False), (1.06, True), (3.0, True)])
def test_a_file_is_faster_where_it_is_by_a_twentieth(times: float, faster: bool) -> None:
    fp32 = np.array([1.0, 1.1, 0.9, 5.0, 1.0])  # other work slows a pair's calls alike
    facts = compared(np.column_stack([fp32, fp32 / times]))
    assert facts["times"] == pytest.approx(times) and facts["faster"] == faster
    assert facts["fp32_ms"] == 1000 and facts["pairs"] == 5 and facts["low"] <= facts["times"] <= facts["high"]


def test_speed_is_told_of_the_engine_that_answers_or_why_it_is_not(run: Run, tmp_path: Path) -> None:
    file, sample = run.path / "fp32.onnx", np.zeros((1, 3, 64, 64), np.float32)
    facts = speed(file, file, sample, "fp32")
    assert facts["measured"] and facts["engine"] == "openvino" and facts["times"] > 0
    assert "tensorrt" in speed(tmp_path / "a.plan", file, sample, "fp16")["because"]
    assert not speed(tmp_path / "none.onnx", file, sample, "int8")["measured"]
