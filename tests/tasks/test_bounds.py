"""What a request or a step's tensor says of sizes and outputs: bounded before anything is computed or allocated."""

import io

import numpy as np
import pytest
from PIL import Image

from medseg.data.encoded import MAX_AREA, encoded_tensor
from medseg.errors import InputError
from medseg.task import Geometry, Infer, Step, Tensor, Tensors
from medseg.tasks import task_named
from medseg.tasks.luna.lungs import lungs
from tests.dali_pipelines.damage import grey16

PICTURES = ("gi-tract", "brain-lgg", "stas")


def _unasked(name: str) -> Infer:
    raise AssertionError(f"{name} was asked")


def _picture(task: str) -> bytes:
    if task == "gi-tract":
        return grey16(20, 30)
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("task", ("luna", *PICTURES))
def test_the_first_step_takes_all_that_a_request_says(task: str) -> None:
    pipeline = task_named(task).pipeline
    assert set(pipeline.steps[0].inputs) == set(pipeline.inputs)


@pytest.mark.parametrize("names", [[b"masks"], [b"mask", b"nodules"], [b""], [b"\xff"], [b"x" * 5000], []])
@pytest.mark.parametrize("task", PICTURES)
def test_an_output_that_is_not_on_offer_is_refused_before_a_picture_is_looked_at(task: str, names: list[bytes]) -> None:
    pipeline = task_named(task).pipeline
    request = {"encoded": encoded_tensor([b"no picture"]), "wanted": encoded_tensor(names)}
    with pytest.raises(InputError, match=r"tensor 'wanted' asks for .*; expected outputs of mask, ") as caught:
        pipeline(request, _unasked)
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


@pytest.mark.parametrize("task", PICTURES)
def test_outputs_on_offer_are_made_alone(task: str) -> None:
    known = task_named(task)
    shapes = {network.name: network.answer_shape for network in known.networks}
    perfect = lambda name: lambda batch: np.full(shapes[name](batch.shape), 5, np.float32)  # noqa: E731
    request: Tensors = {"encoded": encoded_tensor([_picture(task)]), "wanted": encoded_tensor([b"mask_png"])}
    assert list(known.pipeline(request, perfect)) == ["mask_png"]


def _sized() -> list[tuple[str, Step, Tensor]]:
    """Each step that takes two sides of pictures, with that wire."""
    found = []
    for task in PICTURES:
        pipeline = task_named(task).pipeline
        steps = [step for step in pipeline.steps if "size" in step.inputs]
        found += [(task, step, pipeline.tensor("size")) for step in steps]
    return found


@pytest.mark.parametrize(("task", "step", "wire"), _sized(), ids=lambda value: getattr(value, "name", value))
@pytest.mark.parametrize("size", [(8192, 8192), (4097, 8192), (8192, 4097), (2**31 - 1, 2), (0, 5), (-1, 5)])
def test_sides_whose_product_is_absurd_are_refused(task: str, step: Step, wire: Tensor, size: tuple[int, int]) -> None:
    pipeline = task_named(task).pipeline
    tensors = {
        name: np.zeros([max(side, 1) for side in pipeline.tensor(name).shape], np.float32) for name in step.inputs
    }
    tensors |= {"size": np.array([size], np.int32)}
    tensors.pop("wanted")
    with pytest.raises(InputError, match=r"tensor 'size' .*expected"):
        pipeline.check(step, tensors)
    pipeline.check(step, tensors | {"size": np.array([(4096, 8192)], np.int32)})


@pytest.mark.parametrize("task", PICTURES)
def test_a_picture_of_few_bytes_and_an_absurd_area_is_refused(task: str) -> None:
    pixels = np.zeros((6000, 6000), np.uint16) if task == "gi-tract" else np.zeros((6000, 6000, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    assert pixels.shape[0] * pixels.shape[1] > MAX_AREA
    with pytest.raises(InputError, match="6000 x 6000 pixels; expected at most 32 Mi pixels"):
        task_named(task).pipeline({"encoded": encoded_tensor([file.getvalue()])}, _unasked)


@pytest.mark.parametrize("shape", [(4, 4000, 4000), (4000, 4, 4000), (700, 700, 700)])
def test_few_voxels_said_to_be_far_apart_are_no_patient(shape: tuple[int, int, int]) -> None:
    ct = np.broadcast_to(np.int16(-1000), shape)
    with pytest.raises(InputError, match=r"the CT spans .* m; expected a patient"):
        lungs(ct, Geometry((100.0, 100.0, 100.0)))
