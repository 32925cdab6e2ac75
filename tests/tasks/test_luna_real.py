"""The published weights on a real CT: the reference chain's candidates, and the annotated nodules first."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medseg.data.volume import read_volume
from medseg.engines.runs import exported_file, opened
from medseg.run import Run
from medseg.task import Array, Tensors
from medseg.tasks import network_named
from medseg.tasks.luna import TASK
from medseg.tasks.luna.pipeline import geometry_tensor
from tests.shared import SHARED, needs_shared

pytestmark = [needs_shared, pytest.mark.slow]
LUNA, WEIGHTS = SHARED / "data/luna", SHARED / "weights/luna"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    from medseg.export.chain import Wanted, export
    from medseg.train.weights import import_weights

    folder = tmp_path_factory.mktemp("published")
    runs = []
    for name, pattern in (("luna-segment", "seg_*.state"), ("luna-nodule", "cls_*.state")):
        run = import_weights(network_named(name), next(WEIGHTS.glob(pattern)), folder / name, {})
        assert not export(run, network_named(name), Wanted(samples=2), lambda _: None)
        runs.append(Run(run.path))
    return runs


def _tensors(roi: int = 0) -> Tensors:
    volume = read_volume(_ct())
    options = {"roi": np.array([roi], np.uint8), "threshold": np.zeros(1, np.float32)}
    return {"ct": volume.array, "geometry": geometry_tensor(volume.geometry)} | options


def _ct() -> Path:
    return next((LUNA / "subset0").glob("*.mhd"))


def _annotated() -> Array:
    with (LUNA / "annotations.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["seriesuid"] == _ct().stem]
    return np.array([[float(row[f"coord{axis}"]) for axis in "XYZ"] for row in rows])


def _check_annotated_first(nodules: Array) -> None:
    distances = np.linalg.norm(nodules[:3, None, :3] - _annotated()[None], axis=2)
    print("distances of the first three to the annotated nodules, mm:", distances.min(1).round(2).tolist())
    assert (distances.min(1) < 3).all()
    assert sorted(distances.argmin(1)) == [0, 1, 2]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime", "torch"])
@pytest.mark.timeout(600)
def test_every_engine_finds_the_reference_candidates(published: list[Run], engine: str) -> None:
    with opened(published, engine, "fp32") as networks:
        nodules = TASK.pipeline(_tensors(), networks)["nodules"]
    reference = json.loads(next((LUNA / "reference").glob("*.json")).read_text())["candidates"]
    centres = np.array([one["center_irc"] for one in reference])
    probability = np.array([one["nodule_probability"] for one in reference])
    distance = np.linalg.norm(nodules[None, :, 3:6] - centres[:, None], axis=2)
    matched = distance.min(1) < 1.5
    assert matched[probability > 0.5].all()
    assert matched.mean() >= 0.99
    assert np.abs(nodules[distance.argmin(1), 7] - probability)[matched].max() < 0.01
    _check_annotated_first(nodules)


def test_the_served_ensemble_searches_the_lungs(published: list[Run], tmp_path: Path) -> None:
    """Through Triton, only the lungs: the same first three, fewer candidates, and the local answer to the last bit."""
    pytest.importorskip("pytriton")
    from medseg.engines.triton import TritonModel
    from medseg.triton_models.config import Served
    from medseg.triton_models.repository import write
    from medseg.triton_models.server import free_ports, serving

    served = [
        Served(network_named(run.network), str(exported_file(run, "openvino", "fp32")), "openvino", 2, 1)
        for run in published
    ]
    names = write(tmp_path / "models", TASK, served)
    with serving(tmp_path / "models", names, free_ports(), tmp_path / "log") as server:
        model = TritonModel(server.url, "luna")
        remote = model.ask(_tensors(roi=1), TASK.pipeline.outputs)
        model.close()
    with opened(published, "openvino", "fp32") as networks:
        local = TASK.pipeline(_tensors(roi=1), networks)
    assert np.array_equal(remote["mask"], local["mask"])
    np.testing.assert_allclose(remote["nodules"], local["nodules"], atol=1e-6)
    assert len(remote["nodules"]) < 500
    _check_annotated_first(remote["nodules"])
