"""What an engine is for, and who is told when it does not fit: the GPU, the version, the batch, the package."""

import pytest

from medseg.engines.tensorrt import outside, unfit
from medseg.errors import EngineError, ExportError
from medseg.export import plan
from medseg.export.plan import GpuBuild, shapes
from tests.export.made import Hostile, network


def test_the_wrong_gpu_or_version_is_told_in_words():
    facts = {"gpu": "sm89", "version": "1.7.1"}
    assert unfit(facts, "sm89", "1.7.1") is None
    assert "built for sm89 and this GPU is sm120" in unfit(facts, "sm120", "1.7.1")
    assert "built with version 1.7.1 and 1.8.0 is installed" in unfit(facts, "sm89", "1.8.0")


@pytest.mark.parametrize(
    ("engine", "gpu_name", "remedy"),
    [
        ("tensorrt-rtx", "sm120", "export it with --gpu sm120"),
        ("tensorrt-rtx", "sm90", "tensorrt-rtx cannot build for it: use --engine tensorrt"),
        ("tensorrt", "sm90", "build it on this machine"),
    ],
)
def test_the_remedy_for_the_wrong_gpu_is_one_that_export_takes(engine, gpu_name, remedy, monkeypatch):
    assert unfit({"engine": engine, "gpu": "sm89"}, gpu_name, "1.7.1").endswith(remedy)
    monkeypatch.setattr(plan, "gpu_name", lambda: gpu_name)
    if "--gpu" in remedy:
        assert plan.device(GpuBuild(engine, gpu_name)) == gpu_name
    elif "--engine" in remedy:
        assert plan.device(GpuBuild("tensorrt")) == gpu_name
        with pytest.raises(ExportError, match="cannot build for GPU"):
            plan.device(GpuBuild(engine, gpu_name))


def test_a_batch_outside_the_profile_is_told_with_the_profile():
    smallest, _, largest = shapes(network(Hostile), (1, 4, 8))
    assert outside((3, 1, 96, 96), smallest, largest) is None
    assert "(9, 1, 96, 96) is outside the engine's profile" in outside((9, 1, 96, 96), smallest, largest)
    assert outside((1, 1, 2, 96), smallest, largest)


def test_a_missing_package_is_told_with_its_remedy():
    if __import__("importlib.util").util.find_spec("tensorrt"):
        pytest.skip("full TensorRT is installed here")
    with pytest.raises(EngineError, match=r"needs 'tensorrt': pip install 'medseg\[trt\]'"):
        plan.library("tensorrt")
