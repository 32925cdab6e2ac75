"""`medseg predict --overlay`: several runs' outlines over one image, the picture that LGG's authors wished for."""

import json
from pathlib import Path

import cv2
import pytest
import typer
from typer.testing import CliRunner

from medseg.cli.predict import predict
from medseg.cli.task_options import TaskCommand
from medseg.errors import InputError
from medseg.run import Run
from medseg.tasks import network_named, task_named

app = typer.Typer()
app.command(cls=TaskCommand)(predict)
runner = CliRunner()


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two small brain networks that answer differently."""
    torch = pytest.importorskip("torch")
    from medseg.export.graph import save_program
    from medseg.train.weights import save_weights

    network, folder = network_named("brain-lgg"), tmp_path_factory.mktemp("runs")
    runs = []
    for seed, name in enumerate(("narrow", "wide")):
        torch.manual_seed(seed)
        options = {"arch": "unet", "features": 2 + seed}
        run = Run.create(folder / name, network.name, options, {"kind": "train"})
        save_weights(run, network.build(**options).eval())
        save_program(run, network)
        runs.append(run.path)
    return runs


def test_two_runs_are_outlined_over_each_patient(two_runs: list[Path], tmp_path: Path) -> None:
    task_named("brain-lgg").known_data("test").phantom(tmp_path, 2, 0)
    data, out = tmp_path / "kaggle_3m", tmp_path / "pictures"
    arguments = ["brain-lgg", str(data), "--out", str(out), "--engine", "torch", "--overlay", "--json"]
    arguments += [part for run in two_runs for part in ("--run", str(run))]
    written = json.loads(runner.invoke(app, arguments, catch_exceptions=False).stdout)["overlay"]
    assert written == [str(out / f"{folder.name}_runs.png") for folder in sorted(data.iterdir())]
    for path in written:
        picture = cv2.imread(path)[..., ::-1]
        height, width = picture.shape[:2]
        assert height > width / 3, "six slices in rows of three"
        colours = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
        assert {(255, 176, 0), (70, 130, 255)} <= colours, "each run has its own"


def test_outlines_need_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--overlay draws the outlines of runs; got none"):
        runner.invoke(app, ["stas", ".", "--out", str(tmp_path), "--overlay"], catch_exceptions=False)
