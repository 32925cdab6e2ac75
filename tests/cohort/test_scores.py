"""`evaluate --cohort`: the scores of a cohort's answers are those of its runs, and failed cases count as failures."""

from pathlib import Path

import pytest

from medseg.api.evaluation import evaluate
from medseg.cohort.batch import Rules, batch
from medseg.cohort.case import FAILED, Work
from medseg.cohort.how import how_asked
from medseg.cohort.scores import evaluate_cohort
from medseg.cohort.shards import Shard
from medseg.errors import InputError
from medseg.metrics.definitions import DICE, HAUSDORFF_PX, Metric
from medseg.tasks import task_named
from medseg.tasks.scorer import worst_scores
from tests.bench.runs import bright_run
from tests.cohort.faulty import Inline


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["brain-lgg", *(pytest.param(name, marks=pytest.mark.long) for name in ("gi-tract", "stas"))]
)
def test_scores_are_those_of_the_runs_and_a_failed_case_has_the_worst(name: str, tmp_path: Path) -> None:
    task = task_named(name)
    data, out = tmp_path / "data", tmp_path / "out"
    task.known_data("test").phantom(data, 3, 0)
    run = bright_run(tmp_path / "run", task.networks[0])
    how = {"engine": "openvino", "precision": "fp32"}
    work = Work(name, "", (str(run.path),), arrays=True, **how)  # type: ignore[arg-type]
    patients = task.known_data("test").patients(data)
    files = [
        str(one) for patient in patients for case in task.known_data("").cases(data, patient) for one in case.files
    ]
    words = sorted({str(Path(file).parent) for file in files} if name == "brain-lgg" else set(files))
    for number in (1, 2):  # in two parts, which are joined
        batch(task, words, out, (work, how_asked(work)), Inline, Rules(0, Shard(number, 2)))
    (whole,) = evaluate(name, data, [run]).scores.values()
    found = evaluate_cohort(name, data, out)
    (scored,) = found.scores.values()
    assert scored.rows == whole.rows and scored.means == whole.means and not found.notes
    assert scored.counts == {**whole.counts, "failed_cases": 0, "not_asked": 0}

    bad = words[0]
    damaged = sorted(Path(bad).glob("*.tif"))[0] if name == "brain-lgg" else Path(bad)
    good = damaged.read_bytes()
    damaged.write_bytes(b"no picture")
    ledger = batch(task, words[:-1], tmp_path / "one", (work, how_asked(work)), Inline, Rules(0))
    assert [one.status for one in ledger.entries.values()].count(FAILED) == 1
    damaged.write_bytes(good)
    found = evaluate_cohort(name, data, tmp_path / "one", out=tmp_path / "report")
    (scored,) = found.scores.values()
    assert scored.counts["failed_cases"] == 1 and scored.counts["not_asked"] >= 1 and len(found.notes) == 2
    main = task.known_scoring("test").main
    assert sum(row[main] == 0.0 for row in scored.rows.values()) >= 1 and scored.means[main].cases == len(scored.rows)
    assert (tmp_path / "report/evaluation.json").is_file()


def test_the_worst_of_a_score_is_told_by_its_metric() -> None:
    less, described = Metric("far", "0 to 1", "lower", "."), Metric("nodules", "count", "-", ".")
    row = {"dice": 0.9, "far": 0.1, "nodules": 3.0, "hausdorff_px": 4.0}
    found = worst_scores(row, (DICE, HAUSDORFF_PX, less, described))
    assert found == {"dice": 0.0, "far": 1.0, "nodules": 3.0}


def test_answers_that_changed_or_were_not_kept_are_refused(tmp_path: Path) -> None:
    task = task_named("stas")
    task.known_data("test").phantom(tmp_path / "data", 1, 0)
    run = bright_run(tmp_path / "run", task.networks[0])
    pictures = [str(one) for one in (tmp_path / "data").rglob("*.jpg")] or [str(tmp_path / "data")]
    for arrays, said in ((False, "because of --no-arrays"), (True, "differs from the ledger")):
        work, out = Work("stas", "", (str(run.path),), arrays=arrays), tmp_path / f"out-{arrays}"
        batch(task, pictures, out, (work, how_asked(work)), Inline, Rules(0))
        for path in out.rglob("answer.npz"):
            path.write_bytes(b"changed")
        with pytest.raises(InputError, match=said):
            evaluate_cohort("stas", tmp_path / "data", out)
    with pytest.raises(InputError, match=r"holds no manifest\.jsonl"):
        evaluate_cohort("stas", tmp_path / "data", tmp_path)
    with pytest.raises(InputError, match="holds answers of stas"):
        evaluate_cohort("brain-lgg", tmp_path / "data", out)
