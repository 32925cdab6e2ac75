import threading
from pathlib import Path
from shutil import copyfile, copytree

import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image

from medseg.data.encoded import encoded_tensor
from medseg.data.grid import png
from medseg.data.overlay import AMBER, BLUE
from medseg.errors import InputError
from medseg.task import Reading, Tensors, run_step
from medseg.tasks.brain_lgg import TASK
from medseg.tasks.brain_lgg.check import inspect
from medseg.tasks.brain_lgg.data import DATA
from medseg.tasks.brain_lgg.files import picture
from medseg.tasks.brain_lgg.pipeline import PIPELINE, largest, segment
from medseg.tasks.brain_lgg.prepare import prepare
from medseg.tasks.brain_lgg.reader import patients, read, samples
from medseg.tasks.brain_lgg.slices import mask_path, root, slice_paths
from tests.patience import PATIENCE_S
from tests.shared import SHARED, needs_shared
from tests.tasks.perfect import dice, perfect_logits

BRAINS = SHARED / "data/brain_lgg/kaggle_3m"


def framed_logits(mask: np.ndarray, frame) -> np.ndarray:
    """Perfect logits (slices in the brain, 1, 256, 256) of a mask on the volume's own grid."""
    brain = mask[frame.brain]
    _, top, left = frame.before
    square = np.zeros((len(brain), frame.side, frame.side), np.uint8)
    square[:, top : top + brain.shape[1], left : left + brain.shape[2]] = brain
    return perfect_logits(square, (256, 256))[:, None]


@needs_shared
@pytest.mark.parametrize("patient", ["TCGA_CS_4944_20010208", "TCGA_DU_7014_19860618", "TCGA_HT_7692_19960724"])
def test_a_perfect_network_gives_a_perfect_volume(patient: str) -> None:
    (case,) = read(BRAINS.parent, patient)
    truth = largest(case.mask)  # the pipeline keeps one piece, as the reference's evaluation does
    prepared, frame = prepare(case.image)
    logits = framed_logits(case.mask, frame)

    def infer(batch: np.ndarray) -> np.ndarray:
        return logits[[next(z for z, one in enumerate(prepared) if np.array_equal(one, asked)) for asked in batch]]

    files = [path.read_bytes() for path in slice_paths(BRAINS / patient)]
    found = PIPELINE({"encoded": encoded_tensor(files)}, lambda _: infer)
    assert found["mask"].shape == case.mask.shape
    assert found["mask"].dtype == np.uint8
    assert dice(found["mask"], truth) > 0.995  # the brain is enlarged to 256 pixels, so little is lost
    assert len(found["mask_png"]) == len(case.mask)


@needs_shared
def test_the_decoded_volume_is_the_readers() -> None:
    (case,) = read(BRAINS.parent, "TCGA_CS_4941_19960909")
    tensors: Tensors = {"encoded": encoded_tensor([path.read_bytes() for path in slice_paths(BRAINS / case.id)])}
    for step in PIPELINE.steps[:3]:
        tensors |= run_step(step, tensors, lambda _: np.copy)
    assert np.array_equal(tensors["input"], prepare(case.image)[0])


def test_a_volumes_slices_are_asked_for_side_by_side_and_come_back_in_order() -> None:
    image = np.arange(8, dtype=np.float32).reshape(8, 1, 1, 1)
    together = threading.Barrier(4)  # broken, and an error, where fewer than four calls come at a time

    def infer(batch: np.ndarray) -> np.ndarray:
        together.wait(PATIENCE_S)
        return -batch

    assert np.array_equal(segment({"input": image}, lambda _: infer)["logits"], -image)


def test_only_the_largest_piece_is_kept() -> None:
    mask = np.zeros((4, 8, 8), bool)
    mask[0, 0, 0] = mask[2, 4:7, 4:7] = True
    assert largest(mask).sum() == 9
    assert largest(np.zeros((4, 8, 8), bool)).sum() == 0


def test_a_dark_volume_has_no_tumour_and_no_error() -> None:
    slices = encoded_tensor([png(np.zeros((64, 64, 3), np.uint8))] * 3)
    found = PIPELINE({"encoded": slices}, lambda _: lambda batch: batch[:, :1] - 1)
    assert found["mask"].shape == (3, 64, 64)
    assert not found["mask"].any()


def test_slices_of_unequal_size_are_refused_by_number() -> None:
    slices = encoded_tensor([png(np.zeros((64, 64, 3), np.uint8)), png(np.zeros((64, 32, 3), np.uint8))])
    with pytest.raises(InputError, match="slice 2 is 64 x 32; expected 64 x 64 like slice 1"):
        PIPELINE({"encoded": slices}, lambda _: lambda batch: batch)


def test_a_damaged_slice_is_named() -> None:
    whole = png(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(InputError, match="slice 2 ends too early"):
        PIPELINE({"encoded": encoded_tensor([whole, whole[:-20]])}, lambda _: lambda batch: batch)
    with pytest.raises(InputError, match="holds no slices"):
        PIPELINE({"encoded": encoded_tensor([])}, lambda _: lambda batch: batch)


def test_written_masks_are_the_answer_slice_by_slice(tmp_path) -> None:
    DATA.phantom(tmp_path / "data", 2, 0)
    requests = [source.load() for source in TASK.files.sources(root(tmp_path / "data"), Reading())]
    assert [request.name for request in requests] == list(DATA.patients(tmp_path / "data"))
    (case,) = DATA.read(tmp_path / "data", requests[0].name)
    answer = TASK.pipeline(requests[0].tensors, lambda _: lambda batch: batch[:, 1:2] - 1)
    nifti, outline, *slices = TASK.files.write(requests[0], answer, tmp_path)
    assert answer["mask"].any()
    assert np.array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(nifti))), answer["mask"])
    assert [path.name for path in slices] == [mask_path(path).name for path in requests[0].source]
    assert np.array_equal(np.stack([tifffile.imread(path) for path in slices]), 255 * answer["mask"])
    assert len(slices) == len(case.image)
    assert outline.stat().st_size > 10_000


def test_outlines_of_several_answers_are_told_apart() -> None:
    volume = np.full((2, 64, 64, 3), 100, np.uint8)
    masks = {name: np.zeros((2, 64, 64), np.uint8) for name in ("one", "other")}
    masks["one"][:, 22:36, 10:30] = masks["other"][:, 40:60, 40:60] = 1
    shown = picture(volume, masks)
    amber, blue = (np.abs(shown[:64, :64].astype(int) - colour).sum(-1) < 100 for colour in (AMBER, BLUE))
    assert amber[22, 15:25].all()
    assert blue[40, 45:55].all()
    assert not amber[40:].any()


def test_a_folder_without_patients_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match="holds no PATIENT_N"):
        TASK.files.sources(tmp_path, Reading())


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brain-lgg")
    DATA.phantom(folder, 1, 0)
    return folder


def turned(path: Path, orientation: int) -> None:
    """The same file with another orientation."""
    exif = Image.Exif()
    exif[0x112] = orientation
    with Image.open(path) as picture:
        picture.load()
        picture.save(path, exif=exif)


def beside(first: Path, end: str) -> Path:
    return first.with_name(f"{first.parent.name}{end}")


FAULTS = {
    "_3.tif: missing between": lambda first: first.with_name(first.name.replace("_1.tif", "_3.tif")).unlink(),
    "_1.tif: missing between": lambda first: first.unlink(),
    "_1.tiff: is the same slice as": lambda first: copyfile(first, first.with_suffix(".tiff")),
    "_1.tif: is the same slice as": lambda first: copyfile(first, first.with_suffix(".png")),
    "_1.tif: is the same slice as TCGA_PH_0000_20000101_01": lambda first: copyfile(
        first, first.with_name(f"{first.parent.name}_01.tif")
    ),
    "OTHER_1.tif: belongs to no picture": lambda first: copyfile(first, first.with_name("OTHER_1.tif")),
    "OTHER_1.png: belongs to no picture": lambda first: copyfile(first, first.with_name("OTHER_1.png")),
    "_999_mask.tif: belongs to no picture": lambda first: copyfile(first, beside(first, "_999_mask.tif")),
}


@pytest.mark.parametrize("words", FAULTS)
def test_what_is_no_whole_volume_of_one_patient_is_refused_by_name(words: str, made_up: Path, tmp_path: Path) -> None:
    folder = root(copytree(made_up, tmp_path / "a"))
    (name,) = patients(folder)
    FAULTS[words](folder / name / f"{name}_1.tif")
    for ask in (
        lambda: read(folder, name),
        lambda: samples(folder, [name]),
        lambda: [source.load() for source in TASK.files.sources(folder, Reading())],
        lambda: [source.load() for source in TASK.files.sources(folder / name, Reading())],
    ):
        with pytest.raises(InputError) as caught:
            ask()
        assert words in str(caught.value)
    assert sum(words in problem for one in inspect(folder) for problem in one.problems) == 1


def test_a_folder_of_another_name_is_said(made_up: Path, tmp_path: Path) -> None:
    folder = root(copytree(made_up, tmp_path / "a"))
    (name,) = patients(folder)
    (folder / name).rename(folder / "patient_1")
    with pytest.raises(InputError, match=r"belongs to no picture patient_1_N\.tif"):
        read(folder, "patient_1")
    assert patients(folder) == ["patient_1"]


def test_hidden_files_are_not_looked_at(made_up: Path, tmp_path: Path) -> None:
    folder = root(copytree(made_up, tmp_path / "a"))
    (name,) = patients(folder)
    (folder / name / f"._{name}_1.tif").write_bytes(b"Mac OS X")
    assert len(read(folder, name)[0].image) == len(read(root(made_up), name)[0].image)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_volume_that_is_turned_is_read_and_answered_as_it_is_shown(
    orientation: int, made_up: Path, tmp_path: Path
) -> None:
    (wanted,) = read(root(made_up), patients(made_up)[0])
    folder = root(copytree(made_up, tmp_path / "a"))
    (name,) = patients(folder)
    turns = {1: 0, 3: 2, 6: 3}[orientation]  # quarter turns to the left
    for path in (folder / name).glob("*.tif"):
        turned(path, orientation)
    (case,) = read(folder, name)
    assert np.array_equal(case.image, np.rot90(wanted.image, turns, (1, 2)))
    assert np.array_equal(case.mask, np.rot90(wanted.mask, turns, (1, 2)))
    (request,) = [source.load() for source in TASK.files.sources(folder / name, Reading())]
    volume = {}
    for step in PIPELINE.steps[:2]:
        volume |= run_step(step, request.tensors | volume, lambda _: np.copy)
    assert np.array_equal(volume["volume"], case.image)
    TASK.files.write(request, {"mask": case.mask}, tmp_path)
    assert all(
        np.array_equal(tifffile.imread(tmp_path / f"{name}_{number}_mask.tif") > 0, mask > 0)
        for number, mask in enumerate(case.mask, 1)
    )


def test_a_mask_that_is_turned_otherwise_than_its_picture_is_refused(made_up: Path, tmp_path: Path) -> None:
    folder = root(copytree(made_up, tmp_path / "a"))
    (name,) = patients(folder)
    turned(folder / name / f"{name}_2.tif", 3)
    with pytest.raises(InputError, match=r"_2_mask\.tif: has the orientation 1, but its picture 3"):
        read(folder, name)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((64, 64), np.uint8), "expected (256, 256) like its picture"),
        (np.tile(np.arange(256, dtype=np.uint8), (256, 1)), "expected 0 and one other"),
    ],
)
def test_masks_of_another_kind_are_refused(mask: np.ndarray, words: str, made_up: Path, tmp_path: Path) -> None:
    folder = root(copytree(made_up, tmp_path / "a"))
    (name,) = patients(folder)
    for path in (folder / name).glob("*_mask.tif"):
        tifffile.imwrite(path, mask)
    with pytest.raises(InputError) as caught:
        read(folder, name)
    assert words in str(caught.value)
