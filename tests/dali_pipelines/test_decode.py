from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from nvidia.dali.pipeline import Pipeline as DaliPipeline
from simplejpeg import decode_jpeg

from medseg.dali_pipelines.decode import Decoder, serialize
from medseg.data.decoding import decoder, prepared, problems
from medseg.data.encoded import GREY16, RGB, Kind, decode, encoded_tensor, pack
from medseg.data.grid import png
from medseg.engines.gpu import gpu_name
from medseg.errors import InputError
from medseg.task import Decode
from medseg.tasks import task_named, task_names
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


def decoding(task: str) -> Decode:
    return task_named(task).decoding["decode"]


def packed(*files: Path) -> dict[str, np.ndarray]:
    return {"packed": pack([file.read_bytes() for file in files])}


@needs_shared
@pytest.mark.parametrize("task", TASKS)
def test_dali_decodes_what_the_plain_function_decodes(task: str) -> None:
    files, tolerance = FILES[task]
    assert files
    dali, plain, name = Decoder(decoding(task)), step(task, "decode"), decoding(task).output
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


def test_a_large_pictures_memory_is_given_back_and_small_ones_are_decoded_as_before() -> None:
    noise = np.random.default_rng(0).integers(0, 2**16, (60, 80), np.uint16)
    small, large = {"packed": pack([png(noise)])}, {"packed": pack([png(np.zeros((3000, 3000), np.uint16))])}
    decode = Decoder(decoding("gi-tract"))
    before, pipeline = decode(small)["input"], decode._pipeline
    assert decode._pipeline is pipeline
    decode(large)
    assert decode._pipeline is not pipeline
    assert np.array_equal(decode(small)["input"], before)


@needs_shared
@pytest.mark.parametrize("task", TASKS)
def test_masks_are_the_same_whoever_decodes(task: str) -> None:
    pipeline = task_named(task).pipeline
    steps = tuple(replace(one, run=Decoder(decoding(task))) if one.name == "decode" else one for one in pipeline.steps)
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


# How far another JPEG decoder may lie from ours: a value in 4 of 255, in the mean one. nvJPEG is one, on a GPU.
JPEG_LARGEST, JPEG_MEAN, JPEG_DICE = 4, 1.0, 0.997


@needs_shared
@pytest.mark.parametrize("how", [{"fastdct": True}, {"fastupsample": True}])
def test_what_another_jpeg_decoder_does_to_masks_is_known(how: dict[str, bool]) -> None:
    """libjpeg's quick transform rounds as a decoder may; chroma that is not interpolated lies outside the tolerance."""
    record, inside = decoding("stas"), []
    for file in FILES["stas"][0]:
        content = file.read_bytes()
        ours, other = decode(content, record.kind, file.name), decode_jpeg(content, **how)
        apart = np.abs(ours.astype(int) - other)
        masks = [THRESHOLDS["stas"](prepared(one, record)[np.newaxis]) > 0 for one in (ours, other)]
        small = apart.max() <= JPEG_LARGEST and apart.mean() <= JPEG_MEAN
        inside.append(small and dice(*masks) >= JPEG_DICE)
    assert all(inside) if "fastdct" in how else not any(inside)


@pytest.mark.gpu
@pytest.mark.skipif(not gpu_name(), reason="needs an NVIDIA GPU")
@needs_shared
@pytest.mark.parametrize("task", TASKS)
def test_on_a_gpu_pictures_are_decoded_within_the_tolerance(task: str) -> None:
    record, files = decoding(task), FILES[task][0][:6]
    on_gpu, plain, name = Decoder(record, "gpu"), step(task, "decode"), record.output
    scale = 1 if record.size else 255
    for group in [files] if task == "brain-lgg" else [[file] for file in files]:
        apart = np.abs(on_gpu(packed(*group))[name] / scale - plain(packed(*group), None)[name] / scale)
        lossy = files[0].suffix == ".jpg"  # whose darkest and brightest values scale the others
        assert apart.max() <= (2 * JPEG_LARGEST / 255 if lossy else FILES[task][1])
        assert apart.mean() <= JPEG_MEAN / 255


@needs_shared
def test_a_volume_longer_than_a_batch_keeps_its_order() -> None:
    files = FILES["brain-lgg"][0] * 4
    volume = Decoder(decoding("brain-lgg"))(packed(*files))["volume"]
    assert len(volume) == 40
    assert np.array_equal(volume[:10], volume[30:])
    assert not np.array_equal(volume[0], volume[1])


@needs_shared
@pytest.mark.parametrize("task", TASKS)
def test_a_served_definition_is_loaded_back_and_run(task: str) -> None:
    loaded = DaliPipeline.deserialize(serialize(decoding(task), "cpu"))
    tensors = packed(FILES[task][0][0])
    loaded.feed_input("packed", list(tensors["packed"]))
    (found,) = loaded.run()
    assert np.array_equal(found.as_array(), Decoder(decoding(task))(tensors)[decoding(task).output])


@pytest.mark.parametrize("task", TASKS)
def test_the_gpu_definition_decodes_on_the_gpu_and_is_written_without_one(task: str) -> None:
    assert b"mixed" in serialize(decoding(task), "gpu")
    assert b"mixed" not in serialize(decoding(task), "cpu")


@needs_shared
@pytest.mark.parametrize("task", TASKS)
def test_damaged_files_get_an_error_or_the_reference_answer_and_leave_the_decoder_whole(task: str) -> None:
    file, tolerance = FILES[task][0][0], FILES[task][1]
    check, plain, dali, name = step(task, "check"), step(task, "decode"), Decoder(decoding(task)), decoding(task).output
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
    with pytest.raises(InputError, match="slice 3 is no picture"):
        Decoder(decoding("brain-lgg"))(tensors)


GREY8 = Kind("an 8-bit grey PNG", ("PNG",), "L")
MADE_UP = {
    f"{kind.mode} {scaled or 'plain'}{' normalised' if mean else ''} of {channels}": Decode(
        kind, "input", (40, 56), scaled, mean, tuple(0.2 + 0.05 * value for value in range(len(mean))), channels
    )
    for kind, channels in ((GREY8, 1), (GREY8, 3), (GREY16, 1), (GREY16, 3), (RGB, 3))
    for scaled in ("", "bits", "maximum", "range")
    for mean in ((), tuple(0.4 + 0.1 * value for value in range(channels)))
} | {f"{kind.mode} as stored": Decode(kind, "pixels", most=4) for kind in (GREY8, GREY16, RGB)}


def made_up_pictures(how: Decode) -> list[bytes]:
    """Pictures of the record's kind: noise, an even one, a black one."""
    values = np.uint16 if how.kind is GREY16 else np.uint8
    shape = (61, 47, 3) if how.kind is RGB else (61, 47)
    noise = np.random.default_rng(0).integers(9, np.iinfo(values).max - 5, shape, values)
    return [png(picture) for picture in (noise, np.full(shape, 77, values), np.zeros(shape, values))]


@pytest.mark.parametrize("name", MADE_UP)
def test_every_record_means_the_same_to_dali(name: str) -> None:
    how = MADE_UP[name]
    plain, dali = decoder(how), Decoder(how)
    pictures = made_up_pictures(how)
    for group in [pictures] if how.most > 1 else [[one] for one in pictures]:
        one, other = (run({"packed": pack(group)}, None)[how.output] for run in (plain, dali))
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert one.shape[1:] == ((how.channels, 40, 56) if how.size else (61, 47, 3 if how.kind is RGB else 1))
        near = 2e-5 * max(1, np.abs(one).max()) if how.size else 0
        assert np.abs(one.astype(float) - other).max() <= near
    assert b"mixed" in serialize(how, "gpu")


def test_values_are_scaled_as_the_record_says() -> None:
    picture = np.array([[10, 60], [35, 60]], np.uint8)
    for scaled, expected in {
        "": [10, 60, 35, 60],
        "bits": np.array([10, 60, 35, 60]) / 255,
        "maximum": np.array([10, 60, 35, 60]) / 60,
        "range": [0, 1, 0.5, 1],
    }.items():
        for mean, std in (((), ()), ((0.5,), (0.25,))):
            how = Decode(GREY8, "input", (2, 2), scaled, mean, std, channels=1)
            (found,) = decoder(how)({"packed": pack([png(picture)])}, None)["input"]
            wanted = (np.array(expected) - 0.5) / 0.25 if mean else np.array(expected)
            assert found.ravel() == pytest.approx(wanted, abs=1e-6)


def test_every_tasks_record_can_be_and_is_what_its_step_does() -> None:
    records = [(task, name, how) for task in map(task_named, task_names()) for name, how in task.decoding.items()]
    assert len(records) >= 3
    for task, name, how in records:
        assert not [*problems(how)]
        (wire,) = next(one for one in task.pipeline.steps if one.name == name).outputs
        (plain,) = decoder(how)({"packed": pack(made_up_pictures(how)[:1])}, None).values()
        assert wire == how.output
        assert plain.dtype == task.pipeline.tensor(wire).dtype
        assert plain.ndim == len(task.pipeline.tensor(wire).shape)


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        (Decode(RGB, "input", (8, 8), "brightest"), "scaled 'brightest'; expected one of"),
        (Decode(RGB, "input", None, "range"), "scaled, and no size"),
        (Decode(RGB, "input", (8, 8), channels=1), "1 channels of an RGB picture; expected 3"),
        (Decode(RGB, "input", (8, 8), mean=(0.5,), std=(0.5,)), "1 means and 1 deviations; expected 3 of each"),
        (Decode(RGB, "input", (8, 8), mean=(0.5,) * 3), "3 means and 0 deviations"),
        (Decode(RGB, "input", (8, 8), mean=(0.5,) * 3, std=(0.5, 0.0, 1)), "expected numbers above 0"),
    ],
)
def test_a_record_that_cannot_be_is_told(how: Decode, problem: str) -> None:
    assert any(problem in one for one in problems(how))
