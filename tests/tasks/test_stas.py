import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from medseg.data.encoded import encoded_tensor
from medseg.data.labelme import mask_of, read_labelme
from medseg.errors import InputError, RunError
from medseg.task import Reading
from medseg.tasks.stas import TASK, vote
from medseg.tasks.stas.data import DATA
from medseg.tasks.stas.pipeline import PIPELINE, VOTERS, prepare
from tests.shared import SHARED, needs_shared
from tests.tasks.perfect import dice, perfect_logits

VOTING = SHARED / "data/stas/voting"
PICTURES = SHARED / "data/stas/SEG_Train_Datasets"


@needs_shared
def test_the_vote_equals_the_real_voted_results_bit_for_bit() -> None:
    folders = [VOTING / name for name in ("efficientnetv2_m", "eca_nfnet_l2", "efficientnet_b6")]
    finals = sorted((VOTING / "final").glob("*.png"))
    assert len(finals) == 100
    for final in finals:
        masks = np.stack([cv2.imread(str(folder / final.name), cv2.IMREAD_GRAYSCALE) for folder in folders])
        voted = cv2.imread(str(final))[..., 0]
        assert np.array_equal(vote(masks), voted)
        assert np.array_equal(vote((masks > 0).astype(np.uint8)), voted > 0)


def test_two_of_three_is_a_majority() -> None:
    masks = np.array([[[0, 0, 0, 1]], [[0, 0, 1, 1]], [[0, 1, 1, 1]]], np.uint8)
    assert vote(masks).tolist() == [[0, 0, 1, 1]]
    assert vote(masks).dtype == np.uint8
    assert vote(np.zeros((3, 2, 2), np.uint8)).tolist() == [[0, 0], [0, 0]]
    assert vote(masks[1:2]).tolist() == masks[1].tolist(), "one alone decides"


def test_a_picture_is_scaled_to_its_own_range() -> None:
    picture = np.full((30, 40, 3), 50, np.uint8)
    picture[10:20, 10:20] = 150
    prepared = prepare(picture)
    assert prepared.shape == (3, 800, 800)
    assert prepared.dtype == np.float32
    assert (prepared.min(), prepared.max()) == (0, 1)
    assert not prepare(np.full((30, 40, 3), 7, np.uint8)).any()


def truth(annotation: Path) -> np.ndarray:
    document = json.loads(annotation.read_text())
    mask = np.zeros((document["imageHeight"], document["imageWidth"]), np.uint8)
    for shape in document["shapes"]:
        cv2.fillPoly(mask, [np.round(np.array(shape["points"])).astype(np.int32)], 1)
    return mask


@needs_shared
@pytest.mark.parametrize("name", ["00000000", "00000004", "00000071"])
def test_perfect_networks_give_a_perfect_mask(name: str) -> None:
    mask = truth(PICTURES / f"Train_Annotations/{name}.json")
    encoded = (PICTURES / f"Train_Images/{name}.jpg").read_bytes()
    logits = perfect_logits(mask[np.newaxis], (800, 800))
    found = PIPELINE({"encoded": encoded_tensor([encoded])}, lambda _: lambda _: logits[np.newaxis])
    assert found["mask"].shape == mask.shape == (942, 1716)
    assert found["mask"].dtype == np.uint8
    assert dice(found["mask"], mask) > 0.997  # 800 x 800 cannot hold every pixel of 942 x 1716
    assert np.array_equal(found["agreement"], 3 * found["mask"])
    assert np.array_equal(cv2.imdecode(np.frombuffer(found["mask_png"][0], np.uint8), 0), 255 * found["mask"])
    assert np.array_equal(found["probability"] > 127, found["mask"] > 0)


@needs_shared
def test_the_majority_decides_where_networks_disagree() -> None:
    encoded = encoded_tensor([(PICTURES / "Train_Images/00000000.jpg").read_bytes()])
    says = dict(zip(VOTERS, (10.0, 10.0, -10.0), strict=True))
    wanted = encoded_tensor([b"mask", b"agreement", b"votes"])
    networks = lambda name: lambda batch: np.full((1, 1, *batch.shape[2:]), says[name], np.float32)  # noqa: E731
    found = PIPELINE({"encoded": encoded, "wanted": wanted}, networks)
    assert set(found) == {"mask", "agreement", "votes"}
    assert (found["mask"] == 1).all()
    assert (found["agreement"] == 2).all()
    assert found["votes"].reshape(3, -1).max(1).tolist() == [1, 1, 0]


def test_the_written_mask_and_labelme_file_give_the_answer_back(tmp_path) -> None:
    DATA.phantom(tmp_path / "data", 2, 0)
    pictures = next((tmp_path / "data").rglob("*.jpg")).parent
    request = TASK.files.sources(pictures, Reading())[0].load()
    answer = TASK.pipeline(request.tensors, lambda _: lambda batch: 10 * (0.6 - batch[:, 1:2]))
    mask_png, document, overlay = TASK.files.write(request, answer, tmp_path)
    assert answer["mask"].any()
    assert np.array_equal(cv2.imread(str(mask_png), cv2.IMREAD_UNCHANGED), 255 * answer["mask"])
    annotation = read_labelme(document)
    assert annotation.image_name == f"{request.name}.jpg"
    assert np.array_equal(mask_of(annotation, answer["mask"].shape), answer["mask"])
    assert cv2.imread(str(overlay)).shape[1] == answer["mask"].shape[1]


@pytest.mark.parametrize("voter", VOTERS)
def test_one_voter_answers_alone(tmp_path, voter) -> None:
    DATA.phantom(tmp_path / "data", 1, 0)
    request = TASK.files.sources(next((tmp_path / "data").rglob("*.jpg")), Reading())[0].load()
    asked = []
    pipeline = TASK.answered_by([voter]).pipeline
    answer = pipeline(request.tensors, lambda name: asked.append(name) or (lambda batch: 10 * (0.6 - batch[:, 1:2])))
    assert asked == [voter]
    assert np.array_equal(answer["agreement"], answer["mask"]) and answer["mask"].any()
    assert answer["votes"].shape == (1, *answer["mask"].shape)
    assert len(TASK.files.write(request, answer, tmp_path)) == 3


def test_two_voters_have_no_majority() -> None:
    assert TASK.answered_by(VOTERS).pipeline.outputs == PIPELINE.outputs
    for networks in (VOTERS[:2], []):
        with pytest.raises(RunError, match="expected one alone, or a majority of stas-efficientnetv2-m, stas-eca"):
            TASK.answered_by(networks)
    with pytest.raises(RunError, match="'brain-lgg' does not belong to stas"):
        TASK.answered_by(["brain-lgg"])


def test_a_folder_without_pictures_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match="holds no pictures"):
        TASK.files.sources(tmp_path, Reading())
