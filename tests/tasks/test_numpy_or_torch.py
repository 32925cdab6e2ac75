"""Steps behind the networks give for torch's tensors what they give for numpy's, and leave them where they lie."""

from collections.abc import Mapping

import numpy as np
import pytest

pytest.importorskip("torch")
import torch

from medseg.data import numpy_or_torch
from medseg.data.grid import resized
from medseg.data.numpy_or_torch import host
from medseg.engines.gpu import gpu_name
from medseg.task import Array, Step, Tensors
from medseg.tasks import task_named, task_names
from medseg.tasks.brain_lgg.pipeline import BRAIN_LGG

SLICES = 5
FRAME = [7, 260, 270, 1, 4, 9, 6, 250, 261, 0, 5, 2, 256]  # 5 of 7 slices, padded to the network's square of 256
ON_HOST = {"rle", "mask_png", "polygons"}  # text and encoded pictures are made there
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not gpu_name(), reason="needs an NVIDIA GPU")]),
]
STEPS = [(name, step) for name in task_names() for step in task_named(name).pipeline.steps if step.takes_torch]


def _logits(rng: np.random.Generator, *shape: int) -> Array:
    """Blobs with a border, as networks answer: smooth, and never quite 0."""
    coarse = rng.normal(0, 8, (*shape[:2], 12, 12)).astype(np.float32)
    return torch.nn.functional.interpolate(torch.from_numpy(coarse), shape[2:], mode="bicubic").numpy()


def _inputs(task: str, step: Step) -> Tensors:
    """On the network's own grid: what differs on another one is rounding, see the last test."""
    rng, found = np.random.default_rng(0), dict[str, Array]()
    if task == "brain-lgg":
        found |= {"frame": np.array(FRAME, np.int32), "logits": _logits(rng, SLICES, 1, 256, 256)}
        found["input"] = rng.normal(size=(SLICES, 3, 256, 256)).astype(np.float32)
    if task == "gi-tract":
        found |= {"size": np.array([[224, 224]], np.int32), "logits": _logits(rng, 1, 3, 224, 224)}
    if task == "stas":
        wires = [name for name in step.inputs if name.endswith("_logits")]
        found |= {name: _logits(rng, 1, 1, 800, 800) for name in wires}
        found["size"] = np.array([[800, 800]], np.int32)
        found["masks"] = (_logits(rng, 1, 3, 301, 517)[0] > 0).astype(np.uint8)
    return {name: found[name] for name in step.inputs if name in found}


def _networks(name: str):
    assert name == BRAIN_LGG.name
    return lambda batch: batch[:, :1] * 2


def _on(device: str, tensors: Tensors) -> Mapping[str, torch.Tensor]:
    """As on a server: what says where or how large comes from the host."""
    small = {"size", "frame"}
    return {
        name: torch.from_numpy(array.copy()).to("cpu" if name in small else device) for name, array in tensors.items()
    }


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("task", "step"), STEPS, ids=lambda one: one if isinstance(one, str) else one.name)
def test_torch_tensors_get_the_same_answer_where_they_lie(task: str, step: Step, device: str) -> None:
    tensors = _inputs(task, step)
    expected = step.run(tensors, _networks)
    found = step.run(_on(device, tensors), _networks)
    assert list(found) == list(expected)
    for name, array in found.items():
        if name in ON_HOST:
            assert array.tolist() == expected[name].tolist()
            continue
        same = host(array)
        assert (same.dtype, same.shape) == (expected[name].dtype, expected[name].shape), name
        if name == "probability":  # computed twice in float32; at most rounded to the neighbour
            assert np.abs(same.astype(int) - expected[name]).max() <= 1
        else:
            assert np.array_equal(same, expected[name]), name
        largest_piece = task == "brain-lgg" and name == "mask"  # found on the host
        assert largest_piece or array.device.type == device


@pytest.mark.parametrize(("task", "step"), STEPS, ids=lambda one: one if isinstance(one, str) else one.name)
def test_what_a_step_computes_with_is_made_where_its_tensors_lie(
    monkeypatch: pytest.MonkeyPatch, task: str, step: Step
) -> None:
    """On torch's `meta` device, which has no values: whatever was left on the CPU cannot be computed with there.

    A step that asks for a value, for which a GPU would have to stop, raises too. What it takes to the host is zeros.
    """

    def moved(array: torch.Tensor, where: torch.device | str) -> torch.Tensor:
        fetched = array.device.type == "meta" and str(where) == "cpu"
        return torch.zeros(array.shape, dtype=array.dtype) if fetched else array.to(where)

    tensors = _inputs(task, step)
    expected = step.run(tensors, _networks)
    monkeypatch.setattr(numpy_or_torch, "to_device", moved)
    found = step.run(_on("meta", tensors), _networks)
    there = {name: array for name, array in found.items() if isinstance(array, torch.Tensor)}
    assert set(found) - set(there) <= ON_HOST | ({"mask"} if task == "brain-lgg" else set())
    assert there, "nothing was computed there"
    for name, array in there.items():
        kind = str(expected[name].dtype)
        assert (array.device.type, f"torch.{kind}", array.shape) == ("meta", str(array.dtype), expected[name].shape)


def test_a_tensor_that_is_left_on_the_host_is_noticed() -> None:
    with pytest.raises(RuntimeError, match="device"):
        torch.zeros(2, 3) + torch.zeros(2, 3, device="meta")


def test_the_steps_that_can_are_the_ones_behind_the_networks() -> None:
    assert {(name, step.name) for name, step in STEPS} == {
        ("gi-tract", "answer"),
        ("brain-lgg", "segment"),
        ("brain-lgg", "answer"),
        ("stas", "masks"),
        ("stas", "vote"),
    }


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [(301, 517), (942, 1716), (100, 90)])
def test_torch_resizes_as_opencv_does(size: tuple[int, int], device: str) -> None:
    planes = _logits(np.random.default_rng(0), 1, 3, 224, 224)[0]
    found = host(resized(torch.from_numpy(planes).to(device), size))
    np.testing.assert_allclose(found, resized(planes, size), atol=1e-4)  # of logits up to about 30
