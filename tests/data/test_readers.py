"""Every task's reader, on made-up patients in the native layout and on the real files."""

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from medseg.data.check import report
from medseg.errors import InputError
from medseg.tasks import network_named, training_of
from medseg.tasks.brain_lgg.prepare import prepare, prepare_mask
from medseg.tasks.luna.crops import context_slices, crop, nodule_mask
from tests.shared import SHARED, needs_shared

PATIENTS = {"luna": 2, "gi-tract": 2, "brain-lgg": 2, "stas": 4}
DATA = SHARED / "data"


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each task's folder of made-up patients."""
    folders = {task: tmp_path_factory.mktemp(task) for task in sorted(PATIENTS)}
    for task, folder in folders.items():
        part(task, "phantom").phantom(folder, PATIENTS[task], 0)
    return folders


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def part(task: str, name: str) -> Any:
    return import_module(f"medseg.tasks.{task.replace('-', '_')}.{name}")


def bytes_of(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("task", sorted(PATIENTS))
def test_made_up_patients_repeat_and_have_no_problem(task: str, phantoms: dict[str, Path], tmp_path: Path) -> None:
    part(task, "phantom").phantom(tmp_path, PATIENTS[task], 0)
    assert bytes_of(tmp_path) == bytes_of(phantoms[task])
    found = report(part(task, "check").inspect(phantoms[task]))
    assert found.problems == []
    assert found.patients == PATIENTS[task]
    assert found.foreground_share is not None
    assert found.foreground_share > 0
    assert found.without_truth == 0


@pytest.mark.parametrize("task", sorted(PATIENTS))
def test_cases_are_known_before_they_are_read(task: str, phantoms: dict[str, Path]) -> None:
    reader = part(task, "reader")
    for patient in reader.patients(phantoms[task]):
        cases = reader.read(phantoms[task], patient)
        unread = reader.cases(phantoms[task], patient)
        assert [case.id for case in cases] == [one.id for one in unread] != []
        assert all(one.known and one.files and one.patient == patient for one in unread)
        assert len({case.id for case in cases}) == len(cases)
        for case in cases:
            assert case.mask.dtype == np.uint8
            assert set(np.unique(case.mask)) <= {0, 1}


@pytest.mark.parametrize(
    "name", ["luna-segment", "luna-nodule", "luna-malignancy", "gi-tract", "brain-lgg", "stas-eca-nfnet-l2"]
)
def test_samples_are_what_the_network_takes_and_learns(name: str, phantoms: dict[str, Path]) -> None:
    network = network_named(name)
    task = next(task for task in sorted(sorted(PATIENTS), key=len, reverse=True) if name.startswith(task))
    reader = part(task, "reader")
    patients = reader.patients(phantoms[task])
    samples = training_of(network, "train").samples(phantoms[task], patients)
    assert len(samples) == len(samples.foreground) >= len(patients)
    assert set(samples.patients) == set(patients)
    assert (samples.foreground > 0).sum() > 0
    for index in {0, len(samples) - 1}:
        image, target = samples[index]
        assert image.dtype == np.float32
        assert image.shape[0] == network.input_shape[0]
        if len(network.output_shape) == 1:
            assert image.shape == network.input_shape
            assert target == samples.foreground[index]
        else:
            assert target.dtype == np.uint8
            assert target.shape == (network.output_shape[0], *image.shape[1:])
            assert (target.sum() > 0) == (samples.foreground[index] > 0)
    with pytest.raises(IndexError):
        samples[len(samples)]
    if len(patients) > 1:
        assert set(training_of(network, "train").samples(phantoms[task], patients[:1]).patients) == {patients[0]}


def test_every_made_up_nodule_lies_where_the_table_says(phantoms: dict[str, Path]) -> None:
    reader, tables = part("luna", "reader"), part("luna", "tables")
    rows = tables.nodules(phantoms["luna"])
    assert len(rows) >= 6
    for series in reader.patients(phantoms["luna"]):
        (case,) = reader.read(phantoms["luna"], series)
        image = SimpleITK.ReadImage(str(tables.scan_path(phantoms["luna"], series)))
        for row in (row for row in rows if row.series == series):
            column, line, index = image.TransformPhysicalPointToIndex(row.xyz_mm)
            assert case.image[index, line, column] > -100
            assert case.mask[index, line, column] == 1
            assert case.geometry.nearest_voxel(np.array([row.xyz_mm])).tolist() == [[index, line, column]]


def test_crops_are_shifted_inside_and_context_repeats_the_ends() -> None:
    hu = np.arange(20 * 10 * 10, dtype=np.int16).reshape(20, 10, 10)
    assert (crop(hu, (10, 5, 5), (4, 4, 4)) == hu[8:12, 3:7, 3:7]).all()
    assert (crop(hu, (0, 9, 5), (4, 4, 4)) == hu[:4, 6:, 3:7]).all()
    padded = crop(hu, (10, 5, 5), (4, 16, 4))
    assert padded.shape == (4, 16, 4)
    assert (padded[:, 10:] == -1000).all()
    assert context_slices(hu, 0)[:, 0, 0].tolist() == [0, 0, 0, 0, 100, 200, 300]
    assert context_slices(hu, 19)[:, 0, 0].tolist() == [1600, 1700, 1800, 1900, 1900, 1900, 1900]


def test_a_nodules_mask_ends_where_density_falls() -> None:
    hu = np.full((20, 20, 20), -900, np.int16)
    hu[8:13, 7:14, 6:15] = 0  # reaches 2, 3 and 4 from (10, 10, 10)
    assert (nodule_mask(hu, np.array([[10, 10, 10]])) == (hu == 0)).all()
    assert not nodule_mask(hu, np.zeros((0, 3))).any()
    assert nodule_mask(hu, np.array([[10, 0, 0]])).sum() == 0


@needs_shared
def test_the_real_scans_nodules_are_segmented() -> None:
    reader = part("luna", "reader")
    (series,) = reader.patients(DATA / "luna")
    (case,) = reader.read(DATA / "luna", series)
    assert case.image.shape == (140, 512, 512)
    assert 3000 < case.mask.sum() < 20_000
    samples = training_of(network_named("luna-nodule"), "train").samples(DATA / "luna", [series])
    assert (len(samples), samples.foreground.sum()) == (122, 3)
    assert all(image.min() >= -1000 and image.max() <= 1000 for image, _ in samples)


@needs_shared
def test_real_16_bit_slices_are_read_bit_for_bit() -> None:
    from PIL import Image

    reader = part("gi-tract", "reader")
    shapes = {}
    for patient in reader.patients(DATA / "gi_tract"):
        (case,), (one,) = reader.read(DATA / "gi_tract", patient), reader.slices(DATA / "gi_tract", patient)
        with Image.open(one.path) as picture:
            assert (np.array(picture) == case.image).all()
        shapes[case.id] = (case.image.shape, int(case.image.max()), case.spacing_mm)
    assert shapes == {
        "case35_day0_slice_0105": ((266, 266), 11206, (3.0, 1.5, 1.5)),
        "case85_day0_slice_0088": ((310, 360), 781, (3.0, 1.5, 1.5)),
    }


@needs_shared
def test_real_brains_are_prepared_as_the_reference_does_and_restored() -> None:
    reader = part("brain-lgg", "reader")
    patients = reader.patients(DATA / "brain_lgg")
    assert len(patients) == 22
    cases = [reader.read(DATA / "brain_lgg", patient)[0] for patient in patients]
    assert sum(len(case.image) for case in cases) == 623
    for case in cases[::7]:
        image, frame = prepare(case.image)
        mask = prepare_mask(case.mask, frame)
        assert image.shape == (len(mask), 3, 256, 256)
        assert np.abs(image.mean((0, 2, 3))).max() < 1e-4
        assert np.abs(image.std((0, 2, 3)) - 1).max() < 1e-4
        assert mask.any() == case.mask.any()


@needs_shared
def test_a_real_brain_is_prepared_to_scikit_images_numbers() -> None:
    (case,) = part("brain-lgg", "reader").read(DATA / "brain_lgg", "TCGA_CS_4944_20010208")
    image, frame = prepare(case.image)
    places = ((5, 0, 100, 100), (10, 1, 128, 90), (15, 2, 60, 140), (3, 1, 200, 128))
    # What the reference's steps give with scikit-image 0.26, all slices kept.
    wanted = (0.4247218502435177, 2.1516591934131317, -0.8188419375109585, -0.7641950307375993)
    assert [float(image[place]) for place in places] == pytest.approx(wanted, abs=1e-5)
    assert frame.side == 240


def test_what_cannot_be_read_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "train/case1/case1_day0/scans").mkdir(parents=True)
    broken = tmp_path / "train/case1/case1_day0/scans/slice_0001_266_266_1.50_1.50.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(InputError, match="slice_0001"):
        part("gi-tract", "reader").read(tmp_path, "case1")
    for task in sorted(PATIENTS):
        with pytest.raises(InputError, match=str(tmp_path)):
            part(task, "reader").read(tmp_path, "nobody")
