from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from nvidia.dali.pipeline import Pipeline as DaliPipeline

from medseg.dali_pipelines.decode import DEFINITIONS, Decoder, serialize
from medseg.data.encoded import encoded_tensor, pack
from medseg.errors import InputError
from medseg.tasks import task_named
from tests.dali_pipelines.damage import damaged, strange
from tests.shared import SHARED, needs_shared
from tests.tasks.perfect import dice

# Each file of a task, and how far DALI may differ from the plain function: 0 is bit-exact. Both decode the same pixels;
# the rest is the rounding of two bilinear resizes in float32.
FILES = {
    "gi-tract": (sorted(SHARED.glob("data/gi_tract/train/*/*/scans/*.png")), 2e-5),
    "brain-lgg": (sorted(SHARED.glob("data/brain_lgg/kaggle_3m/TCGA_CS_4941_19960909/*_1?.tif")), 0.0),
    "stas": (sorted(SHARED.glob("data/stas/SEG_Train_Datasets/Train_Images/*.jpg"))[:6], 1e-4),
}
TASKS = sorted(FILES)


def step(task: str, name: str):
    pipeline = import_module(f"medseg.tasks.{task.replace('-', '_')}.pipeline").PIPELINE
    return next(step.run for step in pipeline.steps if step.name == name)


def packed(*files: Path) -> dict[str, np.ndarray]:
    return {"packed": pack([file.read_bytes() for file in files])}


@needs_shared
@pytest.mark.parametrize("task", TASKS)
def test_dali_decodes_what_the_plain_function_decodes(task: str) -> None:
    files, tolerance = FILES[task]
    assert files
    dali, plain, name = Decoder(task), step(task, "decode"), DEFINITIONS[task].output
    for group in [files] if task == "brain-lgg" else [[file] for file in files]:
        one, other = dali(packed(*group))[name], plain(packed(*group), None)[name]
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert np.abs(one.astype(float) - other).max() <= tolerance


# A network that thresholds what it is shown, where tissue and background part: every pixel's value counts.
THRESHOLDS = {
    "gi-tract": lambda batch: 20 * batch - 3,
    "brain-lgg": lambda batch: batch[:, 1:2] - 1,
    "stas": lambda batch: 10 * (0.6 - batch[:, 1:2]),
}


@needs_shared
@pytest.mark.parametrize("task", TASKS)
def test_masks_are_the_same_whoever_decodes(task: str) -> None:
    pipeline = task_named(task).pipeline
    steps = tuple(replace(one, run=Decoder(task)) if one.name == "decode" else one for one in pipeline.steps)
    files, scores = FILES[task][0], []
    for group in [files] if task == "brain-lgg" else [[file] for file in files]:
        tensors = {
            "encoded": encoded_tensor([file.read_bytes() for file in group]),
            "wanted": encoded_tensor([b"mask"]),
        }
        networks = lambda _: THRESHOLDS[task]  # noqa: E731
        by_dali, plain = replace(pipeline, steps=steps)(tensors, networks)["mask"], pipeline(tensors, networks)["mask"]
        assert plain.any() and not plain.all()
        scores.append(dice(by_dali, plain))
    assert min(scores) >= (1 if task == "brain-lgg" else 0.9999)


@needs_shared
def test_a_volume_longer_than_a_batch_keeps_its_order() -> None:
    files = FILES["brain-lgg"][0] * 4
    volume = Decoder("brain-lgg")(packed(*files))["volume"]
    assert len(volume) == 40
    assert np.array_equal(volume[:10], volume[30:])
    assert not np.array_equal(volume[0], volume[1])


@needs_shared
@pytest.mark.parametrize("task", TASKS)
def test_a_served_definition_is_loaded_back_and_run(task: str) -> None:
    loaded = DaliPipeline.deserialize(serialize(task, "cpu"))
    tensors = packed(FILES[task][0][0])
    loaded.feed_input("packed", list(tensors["packed"]))
    (found,) = loaded.run()
    assert np.array_equal(found.as_array(), Decoder(task)(tensors)[DEFINITIONS[task].output])


@pytest.mark.parametrize("task", TASKS)
def test_the_gpu_definition_decodes_on_the_gpu_and_is_written_without_one(task: str) -> None:
    assert b"mixed" in serialize(task, "gpu")
    assert b"mixed" not in serialize(task, "cpu")


@needs_shared
@pytest.mark.parametrize("task", TASKS)
def test_damaged_files_get_an_error_or_the_reference_answer_and_leave_the_decoder_whole(task: str) -> None:
    file, tolerance = FILES[task][0][0], FILES[task][1]
    check, plain, dali, name = step(task, "check"), step(task, "decode"), Decoder(task), DEFINITIONS[task].output
    refused = answered = 0
    for data in damaged(file.read_bytes(), 200 if task != "stas" else 40):
        try:
            tensors = check({"encoded": encoded_tensor([data])}, None)
            found, expected = dali(tensors)[name], plain(tensors, None)[name]
        except InputError:
            refused += 1
            continue
        answered += 1
        assert np.abs(found.astype(float) - expected).max() <= tolerance
    assert refused > 10
    assert refused + answered == (200 if task != "stas" else 40)
    whole = packed(file)
    assert np.abs(dali(whole)[name].astype(float) - plain(whole, None)[name]).max() <= tolerance


@pytest.mark.parametrize("task", TASKS)
def test_files_of_another_kind_are_refused_in_one_sentence(task: str) -> None:
    for name, data in strange():
        with pytest.raises(InputError, match="expected") as caught:
            step(task, "check")({"encoded": encoded_tensor([data])}, None)
        assert "\n" not in str(caught.value), name


@needs_shared
def test_the_damaged_slice_of_a_volume_is_named_by_number() -> None:
    tensors = packed(*FILES["brain-lgg"][0][:4])
    tensors["packed"][2, :64] = 0
    with pytest.raises(InputError, match="picture 2 is no picture"):
        Decoder("brain-lgg")(tensors)
