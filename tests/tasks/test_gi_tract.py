import csv
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import cv2
import numpy as np
import pytest
from PIL import Image

from medseg.data import rle
from medseg.data.encoded import encoded_tensor
from medseg.data.grid import resized
from medseg.errors import InputError
from medseg.task import Reading
from medseg.tasks.gi_tract import TASK, reader
from medseg.tasks.gi_tract.check import inspect
from medseg.tasks.gi_tract.data import DATA
from medseg.tasks.gi_tract.files import picture, submit
from medseg.tasks.gi_tract.pipeline import PIPELINE, prepare
from medseg.tasks.scorer import Scorer
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
    DATA.phantom(tmp_path / "data", 2, 0)
    requests = [source.load() for source in TASK.files.sources(tmp_path / "data", Reading())]
    cases = [case for patient in DATA.patients(tmp_path / "data") for case in DATA.read(tmp_path / "data", patient)]
    assert sorted(request.name for request in requests) == sorted(case.id for case in cases)
    masks = {}
    for request in [*requests[:3], *requests[:2]]:  # two of them again
        networks = lambda _: lambda batch: 20 * batch - 8  # noqa: E731
        answer = TASK.pipeline(request.tensors, networks)
        paths = TASK.files.write(request, answer, tmp_path)
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
        assert np.array_equal(rle.decode(row["predicted"], mask.shape), mask)


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
        TASK.files.sources(tmp_path, Reading())


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gi-tract")
    DATA.phantom(folder, 1, 0)
    return folder


def changed(made_up: Path, folder: Path, change: Callable[[list[str]], list[str]]) -> Path:
    """The made-up case, its `train.csv` changed line by line."""
    copytree(made_up, folder, dirs_exist_ok=True)
    lines = (folder / "train.csv").read_text().splitlines()
    (folder / "train.csv").write_text("\n".join(change(lines)) + "\n")
    return folder


def swapped(old: str, new: str, count: int = -1) -> Callable[[list[str]], list[str]]:
    return lambda lines: [line.replace(old, new, count) for line in lines]


WRONG_TABLES = {
    "the class 'Stomach'": swapped(",stomach,", ",Stomach,"),
    "the class 'large bowel'": swapped(",large_bowel,", ",large bowel,"),
    "the id 'Case1_Day0_Slice_0001'": swapped("case1_day0_slice_", "Case1_Day0_Slice_"),
    "the id 'case1_day0_0001'": swapped("case1_day0_slice_", "case1_day0_"),
    "is a second row of case1_day0_slice_0001": lambda lines: [*lines, lines[1]],
    "lacks the row of case1_day0_slice_0001, large_bowel": lambda lines: [lines[0], *lines[2:]],
    "lists other slices of case1_day0, but not case1_day0_slice_0001": lambda lines: [lines[0], *lines[4:]],
    "has no column segmentation": swapped("id,class,segmentation", "id,class,rle"),
    "starts that count from 1": lambda lines: [lines[0], lines[1].rsplit(",", 1)[0] + ",0 5", *lines[2:]],
}


@pytest.mark.parametrize("words", WRONG_TABLES)
def test_a_wrong_table_is_refused_by_whoever_reads_it(words: str, made_up: Path, tmp_path: Path) -> None:
    folder = changed(made_up, tmp_path, WRONG_TABLES[words])
    with pytest.raises(InputError) as read:
        reader.read(folder, "case1")
    with pytest.raises(InputError) as fitted:
        samples = reader.samples(folder, ["case1"])
        [samples[index] for index in range(len(samples))]
    with pytest.raises(InputError) as benched:
        scorer = Scorer(TASK, folder, reader.cases(folder, "case1"))
        for case in reader.cases(folder, "case1"):
            scorer.add(case.id, {"mask": np.zeros(1)})
    for sentence in (str(read.value), str(fitted.value), str(benched.value)):
        assert words in sentence
        assert str(folder / "train.csv") in sentence
    assert any(words in problem for one in inspect(folder) for problem in one.problems)


@pytest.mark.parametrize(
    "change", [swapped(",stomach,", ", stomach ,"), swapped("case1", " case1"), swapped(",", "\t")]
)
def test_spaces_and_tabs_change_nothing(
    change: Callable[[list[str]], list[str]], made_up: Path, tmp_path: Path
) -> None:
    wanted, found = (reader.read(folder, "case1") for folder in (made_up, changed(made_up, tmp_path, change)))
    assert all(np.array_equal(one.mask, other.mask) for one, other in zip(wanted, found, strict=True))


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ("case2_day0/scans/slice_0001_266_234_1.5_1.5.png", "lies below case1"),
        ("case1_day0/scans/slice_0001_310_310_1.50_1.500.png", "is the same slice as"),
        ("case1_day0/scans/slice_0099_100_100_1.5_1.5.PNG", "does not have the size of"),
        ("case1_day0/scans/slice_0099_310_310_0.00_1.5.png", "says that pixels are 0.00 x 1.5 mm"),
    ],
)
def test_slices_that_do_not_belong_together_are_refused(new: str, words: str, made_up: Path, tmp_path: Path) -> None:
    folder = changed(made_up, tmp_path, lambda lines: lines)
    first = sorted(folder.glob("train/case1/case1_day0/scans/*.png"))[0]
    size = "_".join(first.name.split("_")[2:4])
    target = folder / "train/case1" / new.replace("310_310", size)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(first.read_bytes())
    with pytest.raises(InputError, match=words):
        reader.read(folder, "case1")


STORED = np.arange(60, dtype=np.uint16).reshape(6, 10)


def turned(folder: Path, name: str) -> Path:
    """A folder in the collection's layout with one slice, stored as STORED and shown turned to the right."""
    scans, exif = folder / "train/case1/case1_day0/scans", Image.Exif()
    scans.mkdir(parents=True)
    exif[0x112] = 6
    Image.fromarray(STORED).save(scans / name, exif=exif)
    return scans


def test_a_turned_slice_is_read_and_answered_as_it_is_shown(tmp_path: Path) -> None:
    scans = turned(tmp_path, "slice_0001_6_10_1.50_1.50.png")
    (case,) = reader.read(tmp_path, "case1")
    assert np.array_equal(case.image, np.rot90(STORED, 3))
    (request,) = [source.load() for source in TASK.files.sources(scans, Reading())]
    answer = PIPELINE(request.tensors, lambda _: lambda batch: batch - 0.5)
    assert answer["mask"].shape == (3, 10, 6)
    TASK.files.write(request, answer, tmp_path)
    assert cv2.imread(str(tmp_path / f"{request.name}_mask.png")).shape == (10, 6, 3)


def test_a_slices_name_tells_its_size_as_it_is_shown(tmp_path: Path) -> None:
    scans = turned(tmp_path, "slice_0001_10_6_1.50_1.50.png")
    for read in (lambda: reader.read(tmp_path, "case1"), TASK.files.sources(scans, Reading())[0].load):
        with pytest.raises(InputError, match="EXIF orientation 6; its name says"):
            read()


@pytest.mark.parametrize("head", ["id,class,predicted", "id,class,segmentation"])
def test_an_older_submission_is_gone_on_with(head: str, tmp_path: Path) -> None:
    table = tmp_path / "submission.csv"
    table.write_text(f"{head}\none,large_bowel,1 2\n")
    submit(table, "two", ["", "", "3 4"])
    assert table.read_text().splitlines()[:2] == ["id,class,predicted", "one,large_bowel,1 2"]
    assert table.read_text().splitlines()[-1] == "two,stomach,3 4"


def test_another_table_is_not_written_over(tmp_path: Path) -> None:
    table = tmp_path / "submission.csv"
    table.write_text("name,age\nx,5\n")
    with pytest.raises(InputError, match="is not a table of id, class, predicted"):
        submit(table, "two", ["", "", ""])
    assert table.read_text() == "name,age\nx,5\n"


@needs_shared
def test_real_tables_with_other_words_for_nothing_or_other_classes() -> None:
    first, _ = reader.read(SHARED / "cases/33-gi-nan-text", "case7")
    assert [int(organ.sum()) for organ in first.mask] == [0, 0, 3]
    with pytest.raises(InputError, match="the class 'Stomach'; expected one of"):
        reader.read(SHARED / "cases/32-gi-class-capital", "case7")
