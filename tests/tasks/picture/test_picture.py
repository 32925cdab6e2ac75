"""The generic task picture: a network that returns the targets gives a perfect answer, whatever is described."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from medseg.bringing import NetworkOptions
from medseg.data.encoded import encoded_tensor
from medseg.errors import InputError, RunError
from medseg.task import Array
from medseg.tasks import task_named
from medseg.tasks.picture.choose import begun, described
from medseg.tasks.picture.description import Size
from medseg.tasks.picture.prepare import inner, outer, prepare, prepared_mask
from tests.tasks.picture.made import CLASSES, picture

SHAPE = (40, 56)
RULES = [Size("stretch", 64, 96), Size("fit", 64, 64), Size("pad", 64, 64, 32, 7)]


def truth(softmax: bool) -> Array:
    """Masks (2, h, w) of two boxes, which overlap where they may."""
    mask = np.zeros((2, *SHAPE), np.uint8)
    mask[0, 8:24, 8:32] = 1
    mask[1, (24 if softmax else 16) : 36, 16:48] = 1
    return mask


def encoded(channels: int, bits: int) -> bytes:
    values = np.random.default_rng(0).integers(0, 1 << bits, (*SHAPE, channels))
    return bytes(cv2.imencode(".png", values.astype(f"uint{bits}"))[1])


def perfect(described: Any, mask: Array) -> Any:
    """A network that answers with the masks on its own grid."""

    def infer(batch: Array) -> Array:
        planes = prepared_mask(mask, described).astype(np.float32) * 20 - 10
        background = [-planes.max(axis=0, keepdims=True)] if described.softmax else []
        logits = np.concatenate([*background, planes])[np.newaxis]
        assert logits.shape[2:] == batch.shape[2:]
        return logits.astype(np.float32)

    return lambda _: infer


@pytest.mark.parametrize("size", RULES, ids=lambda size: size.rule)
@pytest.mark.parametrize("back", ["logits", "masks"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize(("colours", "count", "bits"), [("rgb", 3, 8), ("grey", 1, 16), ("grey", 3, 8), ("rgb", 3, 16)])
def test_a_perfect_network_gives_the_truth_back(
    size: Size, back: str, activation: str, colours: str, count: int, bits: int
) -> None:
    one = picture(size=size, resized_back=back, activation=activation, colours=colours, count=count, bits=bits)
    task = task_named("picture").described([described(one)])
    mask = truth(one.softmax)
    file = encoded(3 if colours == "rgb" else 1, bits)
    answer = task.pipeline({"encoded": encoded_tensor([file])}, perfect(one, mask))
    found = answer["mask"]
    planes = np.stack([found == value for value in (1, 2)]) if one.softmax else found
    assert found.shape[-2:] == SHAPE
    assert 2 * (planes & mask).sum() / (planes.sum() + mask.sum()) > 0.97, "resizing moves borders by less than a pixel"
    assert answer["probability"].shape == (2, *SHAPE)
    facts = json.loads(answer["statistics"][0])["classes"]
    assert [fact["pixels"] for fact in facts] == [int(plane.sum()) for plane in planes]
    assert [fact["pieces"] for fact in facts] == [1, 1]
    pictures = [cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) for png in answer["mask_png"]]
    assert np.array_equal(pictures[0], found if one.softmax else found[0] * 255)


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.9, 1.0])
def test_the_threshold_is_a_probability(threshold: float) -> None:
    one = picture(activation="sigmoid", threshold=threshold)
    network = task_named("picture").described([described(one)]).network("picture")
    logits = np.full((1, 2, 32, 48), np.log(0.6 / 0.4), np.float32)
    answer = (
        task_named("picture")
        .described([described(one)])
        .pipeline({"encoded": encoded_tensor([encoded(3, 8)])}, lambda _: lambda _: logits)
    )
    assert bool(answer["mask"].all()) == (threshold < 0.6) and network.threshold == threshold


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("unit", lambda x: x / 255),
        ("0,100", lambda x: x / 100),
        ("picture-range", lambda x: (x - x.min()) / (x.max() - x.min())),
        ("picture-maximum", lambda x: x / x.max()),
        ("picture-z-score", lambda x: (x - x.mean()) / x.std()),
        ("channel-z-score", lambda x: (x - x.mean((1, 2), keepdims=True)) / x.std((1, 2), keepdims=True)),
        (
            "imagenet",
            lambda x: (
                (x / 255 - np.reshape((0.485, 0.456, 0.406), (3, 1, 1))) / np.reshape((0.229, 0.224, 0.225), (3, 1, 1))
            ),
        ),
    ],
)
def test_values_are_normalised_as_is_said(words: str, expected: Any) -> None:
    pixels = np.random.default_rng(1).integers(10, 200, (32, 48, 3)).astype(np.uint8)
    found = prepare(pixels, picture(normalisation=words))
    assert np.allclose(found, expected(pixels.transpose(2, 0, 1).astype(np.float64)), atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 1), (31, 33), (500, 20), (20, 500), (64, 96)])
@pytest.mark.parametrize("size", RULES, ids=lambda size: size.rule)
def test_a_picture_of_any_shape_lies_inside_of_the_networks_grid(size: Size, shape: tuple[int, int]) -> None:
    one = picture(size=size)
    found = prepare(np.zeros((*shape, 3), np.uint8), one)
    assert found.shape[1:] == outer(shape, one)
    assert all(1 <= small <= large for small, large in zip(inner(shape, one), outer(shape, one), strict=True))


@pytest.mark.parametrize(
    "layout", ["values", "black and white", "a file a class", "pairs", "pairs of classes", "labelme"]
)
def test_every_layout_of_a_folder_gives_the_same_truth(layout: str, tmp_path: Path) -> None:
    mask, (images, masks) = truth(softmax=True), (tmp_path / "images", tmp_path / "masks")
    folders = [images, masks, *(masks / one.name for one in CLASSES if layout == "a file a class")]
    for folder in folders:
        folder.mkdir()
    (images / "a.png").write_bytes(encoded(3, 8))
    if layout == "black and white":
        mask = mask[:1]
    _write_truth(layout, mask, tmp_path)
    known = CLASSES[: len(mask)]
    one = picture(classes=known, activation="sigmoid")
    data = task_named("picture").described([described(one)]).known_data("test")
    (patient,) = data.patients(tmp_path)
    (case,) = data.read(tmp_path, patient)
    assert np.array_equal(np.asarray(case.mask), mask)
    assert data.cases(tmp_path, patient)[0].known
    assert not [problem for found in data.check(tmp_path) for problem in found.problems]
    image, target = data.training["picture"].samples(tmp_path, [patient])[0]
    assert image.shape == (3, 32, 48) and target.shape == (len(mask), 32, 48)


def _write_truth(layout: str, mask: Array, folder: Path) -> None:
    values = (mask * np.arange(1, len(mask) + 1)[:, None, None]).max(axis=0).astype(np.uint8)
    masks = folder / "masks"
    if layout in ("values", "pairs"):
        cv2.imwrite(str(masks / "a.png"), values)
    if layout == "black and white":
        cv2.imwrite(str(masks / "a.png"), values * 255)
    for number, one in enumerate(CLASSES[: len(mask)]):
        if layout == "a file a class":
            cv2.imwrite(str(masks / one.name / "a.png"), mask[number] * 255)
        if layout == "pairs of classes":
            cv2.imwrite(str(masks / f"{one.name}.png"), mask[number])
    if layout == "pairs":
        (folder / "pairs.csv").write_text("picture;mask\nimages/a.png;masks/a.png\n")
    if layout == "pairs of classes":
        rows = "picture,mask: cell,mask: fibre\nimages/a.png,masks/cell.png,masks/fibre.png\n"
        (folder / "pairs.csv").write_text(rows)
    if layout == "labelme":
        boxes = [("cell", [[8, 8], [31, 23]]), ("fibre", [[16, 24], [47, 35]])]
        shapes = [{"label": name, "points": points, "shape_type": "rectangle"} for name, points in boxes]
        (masks / "a.json").write_text(json.dumps({"shapes": shapes, "imagePath": "a.png"}))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full(SHAPE, 3, np.uint8), "holds the value 3"),
        (np.zeros((40, 55), np.uint8), "40 x 55 pixels; expected 40 x 56"),
        (np.zeros((*SHAPE, 3), np.uint8), "has the mode RGB"),
    ],
)
def test_a_mask_that_is_no_truth_is_told(values: Array, words: str, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "images" / "a.png").write_bytes(encoded(3, 8))
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), values)
    cv2.imwrite(str(tmp_path / "masks" / "b.png"), values)
    data = task_named("picture").described([described(picture())]).known_data("test")
    problems = [problem for found in data.check(tmp_path) for problem in found.problems]
    assert any(words in problem for problem in problems)
    assert any("b.png: belongs to no picture" in problem for problem in problems)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        (NetworkOptions(arch="unett"), "architecture 'unett' is unknown"),
        (NetworkOptions(encoder="resnet33"), "such as"),
        (NetworkOptions(encoder="tu-nothing"), "encoder 'tu-nothing' is unknown"),
        (NetworkOptions(classes="a,,b"), "--classes is 'a,,b'"),
        (NetworkOptions(classes="a,a"), "two classes have the name 'a'"),
        (NetworkOptions(size="0"), "height"),
        (NetworkOptions(size="big"), "--size is 'big'"),
        (NetworkOptions(size="keep"), "a fit needs one size"),
        (NetworkOptions(activation="relu"), "--activation is 'relu'"),
        (NetworkOptions(normalisation="log"), "--normalisation is 'log'"),
        (NetworkOptions(normalisation="5,5"), "expected a low below the high"),
    ],
)
def test_a_choice_that_cannot_be_is_one_sentence(choices: NetworkOptions, words: str, tmp_path: Path) -> None:
    task_named("picture").known_data("test").phantom(tmp_path, 1, 0)
    with pytest.raises(InputError) as error:
        begun(tmp_path, choices)
    assert words in str(error.value) and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("texts", [[], ["{}", "{}"], ["{"], ["{}"], ['{"format": 1, "kind": "volume"}']])
def test_what_describes_no_picture_is_refused(texts: list[str]) -> None:
    with pytest.raises(RunError):
        task_named("picture").described(texts)


def test_the_first_step_takes_all_that_a_request_says() -> None:
    pipeline = task_named("picture").described([described(picture())]).pipeline
    assert set(pipeline.steps[0].inputs) == set(pipeline.inputs)
