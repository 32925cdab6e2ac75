"""The published weights on a real CT: the reference chain's candidates, and the annotated nodules first."""

import csv
import json
from dataclasses import replace
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
LUNA = SHARED / "data/luna"
SLOWER = ("onnxruntime", "torch")  # whose answers to single batches are held to OpenVINO's in tests/engines


_SLAB = slice(55, 105)  # the slices about the annotated nodules, where all 140 would prove no more


@pytest.fixture
def published(published_runs: dict[str, Run]) -> list[Run]:
    return list(published_runs.values())


def _tensors() -> Tensors:
    volume = read_volume(_ct())
    return {"ct": volume.array, "geometry": geometry_tensor(volume.geometry), "threshold": np.zeros(1, np.float32)}


def _lungs_of_a_slab() -> Tensors:
    volume = read_volume(_ct())
    first = tuple(volume.geometry.world_from_voxel(np.array([[_SLAB.start, 0, 0]]))[0])
    where = geometry_tensor(replace(volume.geometry, origin_mm=first))
    return _tensors() | {"ct": volume.array[_SLAB], "geometry": where, "roi": np.ones(1, np.uint8)}


def _ct() -> Path:
    return next((LUNA / "subset0").glob("*.mhd"))


def _annotated() -> Array:
    with (LUNA / "annotations.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["seriesuid"] == _ct().stem]
    return np.array([[float(row[f"coord{axis}"]) for axis in "XYZ"] for row in rows])


def _check_annotated_first(nodules: Array, among: int = 3) -> None:
    distances = np.linalg.norm(nodules[:among, None, :3] - _annotated()[None], axis=2)
    print("distances of the first to the annotated nodules, mm:", distances.round(2).tolist())
    assert (distances.min(0) < 3).all()
    assert len(set(distances.argmin(0))) == 3


@pytest.mark.parametrize("engine", ["openvino", *(pytest.param(name, marks=pytest.mark.long) for name in SLOWER)])
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
    """Through Triton, only the lungs of a slab: the annotated nodules, and the local answer to the last bit."""
    pytest.importorskip("pytriton")
    from medseg.engines.triton import TritonModel
    from medseg.triton_models.config import Served
    from medseg.triton_models.repository import write
    from medseg.triton_models.server import serving

    served = [
        Served(network_named(run.network), str(exported_file(run, "openvino", "fp32")), "openvino", 2, 1)
        for run in published
    ]
    names = write(tmp_path / "models", TASK, served)
    with serving(tmp_path / "models", names, tmp_path / "log") as server:
        model = TritonModel(server.url, "luna")
        remote = model.ask(_lungs_of_a_slab(), TASK.pipeline.outputs)
        model.close()
    with opened(published, "openvino", "fp32") as networks:
        local = TASK.pipeline(_lungs_of_a_slab(), networks)
    assert np.array_equal(remote["mask"], local["mask"])
    np.testing.assert_allclose(remote["nodules"], local["nodules"], atol=1e-6)
    _check_annotated_first(remote["nodules"], among=5)
