import csv
from collections import defaultdict

import cv2
import numpy as np
import pytest

from medseg.data import rle
from medseg.data.encoded import encoded_tensor
from medseg.data.grid import resized
from medseg.errors import InputError
from medseg.task import Reading
from medseg.tasks.gi_tract import TASK
from medseg.tasks.gi_tract.files import picture
from medseg.tasks.gi_tract.pipeline import PIPELINE, prepare
from tests.shared import SHARED, needs_shared
from tests.tasks.perfect import dice, perfect_logits

GI_TRACT = SHARED / "data/gi_tract"
CLASSES = ("large_bowel", "small_bowel", "stomach")


def real_masks(every: int) -> list[tuple[list[str], np.ndarray]]:
    rows: dict[str, dict[str, str]] = defaultdict(dict)
    with (GI_TRACT / "train.csv").open() as file:
        for row in csv.DictReader(file):
            rows[row["id"]][row["class"]] = row["segmentation"]
    with (GI_TRACT / "slice_paths.csv").open() as file:
        sizes = {row["id"]: (int(row["height"]), int(row["width"])) for row in csv.DictReader(file)}
    texts = {name: [organs[organ] for organ in CLASSES] for name, organs in rows.items() if any(organs.values())}
    names = sorted(texts)[::every]
    return [(texts[name], np.stack([rle.decode(text, sizes[name]) for text in texts[name]])) for name in names]


def encoded(picture: np.ndarray) -> np.ndarray:
    return encoded_tensor([cv2.imencode(".png", picture)[1].tobytes()])


def test_a_slice_is_divided_by_its_maximum_and_repeated_in_three_channels() -> None:
    picture = np.zeros((234, 266), np.uint16)
    picture[50:100, 60:90] = 11_206
    prepared = prepare(picture)
    assert prepared.shape == (3, 224, 224)
    assert prepared.dtype == np.float32
    assert (prepared.min(), prepared.max()) == (0, 1)
    assert (prepared == prepared[0]).all()
    assert not prepare(np.zeros((234, 266), np.uint16)).any()


@needs_shared
def test_perfect_networks_give_perfect_masks_on_real_truth() -> None:
    cases = real_masks(every=40)
    assert len(cases) > 10
    scores = []
    for _, mask in cases:
        logits = perfect_logits(mask, (224, 224))[np.newaxis]
        found = PIPELINE({"encoded": encoded(np.ones(mask.shape[1:], np.uint16))}, lambda _, out=logits: lambda _: out)
        assert found["mask"].shape == mask.shape
        assert found["mask"].dtype == np.uint8
        scores += [dice(*pair) for pair in zip(found["mask"], mask, strict=True) if pair[1].any()]
    assert np.mean(scores) > 0.99  # 224 x 224 cannot hold every pixel of 276 x 276
    assert min(scores) > 0.95


@needs_shared
def test_real_slices_pass_and_every_output_agrees() -> None:
    for path in sorted(GI_TRACT.glob("train/*/*/scans/*.png")):
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        networks = lambda _: lambda batch: 20 * batch - 3  # noqa: E731
        found = PIPELINE({"encoded": encoded_tensor([path.read_bytes()])}, networks)
        scaled = resized(resized(picture[np.newaxis].astype(np.float32) / picture.max(), (224, 224)), picture.shape)
        assert np.array_equal(found["mask"][0], 20 * scaled[0] - 3 > 0)
        shown = cv2.imdecode(np.frombuffer(found["mask_png"][0], np.uint8), cv2.IMREAD_COLOR_RGB)
        assert np.array_equal(shown, 255 * found["mask"].transpose(1, 2, 0))
        assert np.array_equal(found["probability"] > 127, found["mask"] > 0)
        assert np.array_equal(rle.decode(found["rle"][0].decode(), picture.shape), found["mask"][0])


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (np.zeros((20, 20), np.uint8), "is a PNG in mode L; expected a 16-bit grey PNG"),
        (np.zeros((20, 20, 3), np.uint8), "is a PNG in mode RGB; expected a 16-bit grey PNG"),
        (np.zeros((1, 1), np.uint16), "is 1 x 1 pixels"),
    ],
)
def test_another_kind_of_picture_is_refused_in_words(picture: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        PIPELINE({"encoded": encoded(picture)}, lambda _: lambda batch: batch)


def test_the_submission_has_each_slice_once_and_gives_the_masks_back(tmp_path) -> None:
    TASK.phantom(tmp_path / "data", 2, 0)
    requests = [source.load() for source in TASK.sources(tmp_path / "data", Reading())]
    cases = [case for patient in TASK.patients(tmp_path / "data") for case in TASK.read(tmp_path / "data", patient)]
    assert sorted(request.name for request in requests) == sorted(case.id for case in cases)
    masks = {}
    for request in [*requests[:3], *requests[:2]]:  # two of them again
        networks = lambda _: lambda batch: 20 * batch - 8  # noqa: E731
        answer = TASK.pipeline(request.tensors, networks)
        paths = TASK.write(request, answer, tmp_path)
        masks[request.name] = answer["mask"]
    assert [path.name for path in paths] == [
        "submission.csv",
        f"{request.name}_mask.png",
        f"{request.name}_overlay.png",
    ]
    rows = list(csv.DictReader((tmp_path / "submission.csv").open()))
    assert len(rows) == 9
    for row in rows:
        mask = masks[row["id"]][CLASSES.index(row["class"])]
        assert np.array_equal(rle.decode(row["segmentation"], mask.shape), mask)


def test_the_overlay_shows_the_classes_in_red_green_and_blue() -> None:
    mask = np.zeros((3, 100, 100), np.uint8)
    for index in range(3):
        mask[index, 30 * index : 30 * index + 20, 20:80] = 1
    shown = picture(np.full((100, 100), 500, np.uint16), mask)
    for index in range(3):
        inside = shown[8 * (30 * index + 10), 8 * 50].astype(int)
        assert inside.argmax() == index
        assert inside.max() > 1.2 * inside.min() + 5


def test_a_folder_without_slices_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"holds no \.png files"):
        TASK.sources(tmp_path, Reading())
