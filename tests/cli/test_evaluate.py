import io
import json
import re
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from medseg.api.evaluation import held_out
from medseg.cli.evaluate import evaluate
from medseg.engines.runs import lineups
from medseg.errors import InputError, RunError
from medseg.metrics.overlap import dice
from medseg.run import Run
from medseg.tasks import task_named
from tests.shared import SHARED, needs_shared

FROC = SHARED / "data/luna/froc"
app = typer.Typer()
app.command()(evaluate)
runner = CliRunner()


def a_run(folder: Path, network: str, train: list[str] | None = None) -> Run:
    source = {"kind": "train", "split": {"train": train, "validation": []}} if train is not None else {"kind": "import"}
    return Run.create(folder, network, {}, source)


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brains")
    task_named("brain-lgg").known_data("test").phantom(folder, 3, 0)
    return folder


@needs_shared
def test_a_submission_is_scored_as_published(tmp_path: Path) -> None:
    arguments = ["luna", str(FROC), "--submission", str(FROC / "deeplung_dpn26_submission.csv")]
    found = json.loads(runner.invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    mean = found["mean"]
    assert [round(mean["cpm"][end], 3) for end in ("mean", "low", "high")] == [0.842, 0.812, 0.868]
    rates = {rate: mean[f"sensitivity_at_{rate}"] for rate in ("0.125", "0.25", "0.5", "1", "2", "4", "8")}
    assert [round(one["mean"], 3) for one in rates.values()] == [0.692, 0.769, 0.824, 0.865, 0.893, 0.917, 0.933]
    assert all(one["low"] < one["mean"] < one["high"] and one["cases"] == 888 for one in rates.values())
    assert found["counts"]["scans"] == 888
    out = tmp_path / "report"
    shown = runner.invoke(app, [*arguments, "--out", str(out)], catch_exceptions=False).stdout
    assert re.search(r"^cpm: 0\.842\d \(95 % interval 0\.811\d to 0\.868\d, 888 cases\)$", shown, re.MULTILINE)
    assert json.loads((out / "evaluation.json").read_text()) == found


HEAD = "seriesuid,coordX,coordY,coordZ,probability\n"


def submission(folder: Path, content: str | bytes) -> Path:
    """A submission in a folder with two scans' annotations."""
    (folder / "annotations.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\na,0,0,0,8\nb,0,0,0,8\n")
    path = folder / "submission.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("seriesuid,coordX,coordY,coordZ\n", "has no column probability"),
        (HEAD + "a,1,2,3,nan\n", "line 2: 'nan' is not a number"),
        (HEAD + "a,1,2,3,inf\n", "line 2: 'inf' is not a number"),
        (HEAD + "a,1,2,3,\n", "line 2: '' is not a number"),
        (HEAD + "a,1,2,nan,0.5\n", "line 2: 'nan' is not a number"),
        (HEAD + "a,1,2,3,0.5\na,1,2,4,1.01\n", "mark 2 has the probability 1.01; expected 0 to 1"),
        (HEAD + "a,1,2,3,-0.5\n", "mark 1 has the probability -0.5; expected 0 to 1"),
        (HEAD + "a,1,2,3,97\n", "mark 1 has the probability 97; expected 0 to 1"),
        (HEAD + "a,1,2,3,0.5\nb,1,2,3,0.5\na,1,2,3,0.5\n", "mark 3 is at the place of mark 1"),
        (HEAD + "a,1,2,3,0.5\na,1.0,2.00,3,0.7\n", "mark 2 is at the place of mark 1"),
        (HEAD + "z,1,2,3,1\n", "names none of the 2 scans"),
    ],
)
def test_a_wrong_submission_is_refused_with_its_path(tmp_path: Path, content: str, words: str) -> None:
    path = submission(tmp_path, content)
    with pytest.raises(InputError, match=words) as error:
        runner.invoke(app, ["luna", str(tmp_path), "--submission", str(path)], catch_exceptions=False)
    assert str(path) in str(error.value)


def test_marks_in_unknown_scans_do_not_count_and_a_note_says_so(tmp_path: Path) -> None:
    path = submission(tmp_path, HEAD + "a,0,0,0,0.9\nz,1,2,3,0.9\nz,1,2,4,0.8\n")
    arguments = ["luna", str(tmp_path), "--submission", str(path)]
    found = json.loads(runner.invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    counts = found["counts"]
    assert found["mean"]["cpm"]["mean"] == 0.5
    assert (counts["scans"], counts["scans_with_marks"], counts["false_marks"]) == (2, 1, 0)
    assert found["notes"][0].startswith("2 of 3 marks lie in scans that")
    assert "note: 2 of 3 marks" in runner.invoke(app, arguments, catch_exceptions=False).stdout


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
def test_submissions_are_read_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    path = submission(tmp_path, (HEAD + "a,0,0,0,0.9\nb,1,1,1,0.8\n").encode(encoding))
    arguments = ["luna", str(tmp_path), "--submission", str(path), "--json"]
    assert json.loads(runner.invoke(app, arguments, catch_exceptions=False).stdout)["mean"]["cpm"]["mean"] == 1


@pytest.mark.parametrize("there", ["evaluation.json", "cases.csv", "cases-2.csv", "worst/a.png"])
def test_an_earlier_report_is_overwritten_only_where_that_was_said(tmp_path: Path, there: str) -> None:
    path = submission(tmp_path, HEAD + "a,0,0,0,0.9\n")
    old, other = tmp_path / "report" / there, tmp_path / "report/mine.csv"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    other.write_text("mine")
    arguments = ["luna", str(tmp_path), "--submission", str(path), "--out", str(tmp_path / "report")]
    with pytest.raises(InputError, match="of an earlier report would be overwritten; expected a new --out"):
        runner.invoke(app, arguments, catch_exceptions=False)
    assert old.read_text() == "old"
    runner.invoke(app, [*arguments, "--overwrite"], catch_exceptions=False)
    assert not old.exists() or old.read_text() != "old"
    assert json.loads((tmp_path / "report/evaluation.json").read_text())["task"] == "luna"
    assert other.read_text() == "mine"


def test_runs_or_a_submission_but_not_neither() -> None:
    with pytest.raises(InputError, match="got both or neither"):
        runner.invoke(app, ["luna", "."], catch_exceptions=False)
    with pytest.raises(InputError, match="no submission format"):
        runner.invoke(app, ["stas", ".", "--submission", "a.csv"], catch_exceptions=False)


def test_only_patients_that_no_run_has_learnt_from_count(brains: Path, tmp_path: Path) -> None:
    task = task_named("brain-lgg")
    first, second, third = task.known_data("test").patients(brains)
    one = a_run(tmp_path / "one", "brain-lgg", [first])
    other = a_run(tmp_path / "other", "brain-lgg", [second])
    assert held_out(task, brains, [one]) == [second, third]
    assert held_out(task, brains, [one, other]) == [third]
    assert held_out(task, brains, [a_run(tmp_path / "imported", "brain-lgg")]) == [first, second, third]
    with pytest.raises(InputError, match="the runs were trained on all of them"):
        held_out(task, brains, [a_run(tmp_path / "all", "brain-lgg", [first, second, third])])


def test_runs_of_one_network_are_compared_and_of_several_answer_together(tmp_path: Path) -> None:
    one, other = a_run(tmp_path / "a/one", "brain-lgg"), a_run(tmp_path / "b/one", "brain-lgg")
    assert list(lineups([one, other]).values()) == [[one], [other]]
    assert len(lineups([one, other])) == 2
    segment, nodule = a_run(tmp_path / "segment", "luna-segment"), a_run(tmp_path / "nodule", "luna-nodule")
    assert lineups([segment, nodule]) == {"segment + nodule": [segment, nodule]}


def test_a_run_is_evaluated_on_its_held_out_patients(brains: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from medseg.export.graph import save_program
    from medseg.tasks import network_named
    from medseg.train.weights import save_weights

    network, options = network_named("brain-lgg"), {"arch": "unet", "features": 2}
    learnt, *held = task_named("brain-lgg").known_data("test").patients(brains)
    torch.manual_seed(0)
    source = {"kind": "train", "split": {"train": [learnt], "validation": held}}
    run = Run.create(tmp_path / "one", network.name, options, source)
    save_weights(run, network.build(**options).eval())
    save_program(run, network)
    copytree(run.path, tmp_path / "two")
    out = tmp_path / "report"
    arguments = ["brain-lgg", str(brains), "--engine", "torch", "--out", str(out), "--json"]
    arguments += [part for name in ("one", "two") for part in ("--run", str(tmp_path / name))]
    found = json.loads(runner.invoke(app, arguments, catch_exceptions=False).stdout)
    assert found["patients"] == held
    assert list(found["evaluations"]) == ["one", "two"]
    for scores in found["evaluations"].values():
        assert list(scores["cases"]) == held
        assert scores == found["evaluations"]["one"] | {"runs": scores["runs"]}
        values = [case["dice"] for case in scores["cases"].values()]
        assert scores["mean"]["dice"]["mean"] == pytest.approx(np.mean(values))
        assert scores["mean"]["dice"]["low"] <= scores["mean"]["dice"]["mean"] <= scores["mean"]["dice"]["high"]
    assert (out / "cases-2.csv").read_text().startswith("case,dice,iou")
    assert len(found["pictures"]) == 2
    assert all(Path(path).read_bytes().startswith(b"\x89PNG") for path in found["pictures"])


def test_a_voter_of_stas_is_evaluated_alone(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from medseg.export.files import add

    class Dark(torch.nn.Module):
        """Says STAS where a picture is not bright in its green, in no time."""

        def forward(self, x):
            return 10 * (0.3 - x[:, 1:2])

    task_named("stas").known_data("test").phantom(tmp_path / "data", 2, 0)
    run = a_run(tmp_path / "voter", "stas-eca-nfnet-l2")
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(Dark(), (torch.zeros(2, 3, 800, 800),), dynamic_shapes=(batch,))
    content = io.BytesIO()
    torch.export.save(program, content)
    add(run, "fp32.pt2", content.getvalue(), {"precision": "fp32"})
    arguments = ["stas", str(tmp_path / "data"), "--run", str(run.path), "--engine", "torch", "--json"]
    found = json.loads(runner.invoke(app, arguments, catch_exceptions=False).stdout)
    cases = [
        case
        for name in ("00000000", "00000001")
        for case in task_named("stas").known_data("test").read(tmp_path / "data", name)
    ]
    for case in cases:
        low, high = int(case.image.min()), int(case.image.max())  # the input's 0 and 1
        expected = dice(case.image[..., 1] < low + 0.3 * (high - low), case.mask > 0)
        assert 0.5 < expected < 0.99, "far from empty, and not perfect"
        assert found["evaluations"]["voter"]["cases"][case.id]["dice"] == pytest.approx(expected, abs=0.05), (
            "resizing smooths grain"
        )
    other = a_run(tmp_path / "other", "stas-efficientnet-b6")
    with pytest.raises(RunError, match="expected one alone, or a majority"):
        runner.invoke(app, [*arguments, "--run", str(other.path)], catch_exceptions=False)


def test_outlines_of_two_runs_are_drawn_over_one_image() -> None:
    from medseg.data.picture import TRUTH, TRUTH_COLOUR, View, compared

    image = np.zeros((300, 400, 3), np.uint8)
    masks = {}
    for number, name in enumerate((TRUTH, "unet", "fpn")):
        masks[name] = np.zeros((300, 400), np.uint8)
        masks[name][50:100, 50 + 110 * number : 100 + 110 * number] = 1
    picture = compared([View(image, masks, "slice 1")])
    assert picture.shape[0] > picture.shape[1] * 3 / 4  # the legend lies below
    factor = picture.shape[1] // 400
    edges = [tuple(picture[75 * factor, (50 + 110 * number) * factor].tolist()) for number in range(3)]
    assert edges[0] == TRUTH_COLOUR
    assert len(set(edges)) == 3
    with pytest.raises(InputError, match="7 runs over one picture"):
        compared([View(image, {f"run{number}": masks[TRUTH] for number in range(7)})])


def test_runs_that_agree_are_both_seen_and_long_names_get_lines_of_their_own() -> None:
    from medseg.data.picture import RUN_COLOURS, View, compared

    mask = np.zeros((100, 120), np.uint8)
    mask[20:80, 20:80] = 1
    names = ["a run with quite a long name", "another run with an even longer name"]
    picture = compared([View(np.zeros((100, 120, 3), np.uint8), dict.fromkeys(names, mask))])
    assert picture.shape == (400 + 2 * 30, 480, 3)
    assert set(RUN_COLOURS[:2]) <= {tuple(colour) for colour in picture[:400].reshape(-1, 3).tolist()}
