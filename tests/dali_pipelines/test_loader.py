from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from medseg.dali_pipelines.in_torch import bend
from medseg.dali_pipelines.loader import DaliLoader, Fit
from medseg.data.augmentation import Augmentation
from medseg.data.samples import Samples
from medseg.tasks import network_named, task_named, training_of
from medseg.tasks.brain_lgg import reader as brain_reader
from medseg.tasks.gi_tract import reader as gi_reader
from medseg.tasks.stas import reader as stas_reader
from tests.shared import SHARED, needs_shared

SIZE = (96, 96)
READERS = {"gi-tract": gi_reader, "brain-lgg": brain_reader, "stas": stas_reader}
# How far a picture that nothing changes may be from the plain function's. DALI's warp steps through a row in float32:
# on pictures 1,716 pixels wide it is up to 1/1000 of a pixel off, which is less than one of 255 grey levels.
TOLERANCES = {"gi-tract": 3e-4, "brain-lgg": 1e-5, "stas": 1e-4}


class Shares:
    """An epoch's order for one process of several: seeded by the epoch, in disjoint shares."""

    def __init__(self, count: int, rank: int = 0, ranks: int = 1) -> None:
        self.count, self.rank, self.ranks, self.epoch = count, rank, ranks, 0

    def __iter__(self):
        return iter(np.random.default_rng(self.epoch).permutation(self.count)[self.rank :: self.ranks].tolist())

    def __len__(self) -> int:
        return len(range(self.rank, self.count, self.ranks))


def fit_of(task: str, size: tuple[int, int], batch_size: int, seed: int, **more) -> Fit:
    """A fit of the task's own network, by its own changes if no other are said."""
    found = task_named(task)
    changes = more.pop("how", training_of(found.networks[0], "test").augmentation)
    decode = next((one for one in found.decoding.values() if one.size), None)
    return Fit(size, batch_size, seed, changes, decode, **more)


def made_up(task: str, folder: Path) -> Samples:
    task_named(task).known_data("test").phantom(folder, 2, 0)
    return READERS[task].samples(folder, task_named(task).known_data("test").patients(folder))


def blobs(count: int) -> Samples:
    """Pictures that are their own masks: round bright blobs, all lying somewhere else."""
    y, x = np.mgrid[:120, :160]
    rng = np.random.default_rng(0)
    middles = rng.uniform((40, 50), (80, 110), (count, 2))
    masks = [((y - row) ** 2 + (x - column) ** 2 < 600).astype(np.uint8) for row, column in middles]

    def encoded(index: int) -> tuple[bytes, np.ndarray]:
        picture = cv2.imencode(".png", masks[index].astype(np.uint16) * 1000)[1].tobytes()
        return picture, np.stack([masks[index]] * 3)

    names = tuple(f"patient {index % 5}" for index in range(count))
    return Samples(
        lambda index: (masks[index][None].astype(np.float32), masks[index][None]), names, np.ones(count), encoded
    )


def epoch(loader: DaliLoader) -> tuple[torch.Tensor, ...]:
    return tuple(torch.cat(parts) for parts in zip(*loader, strict=True))


@pytest.mark.parametrize("task", sorted(READERS))
def test_without_changes_the_loader_gives_the_readers_samples(task: str, tmp_path: Path) -> None:
    samples = made_up(task, tmp_path)
    count = min(10, len(samples))
    order = Shares(count)
    size = task_named(task).networks[0].input_shape[1:]
    images, masks, numbers = epoch(DaliLoader(samples, order, fit_of(task, size, 4, seed=0, how=Augmentation())))
    assert (images.dtype, masks.dtype, len(images)) == (torch.float32, torch.uint8, count)
    patients = sorted(set(samples.patients))
    for image, mask, number, index in zip(images, masks, numbers, order, strict=True):
        expected_image, expected_mask = samples[index]
        assert np.abs(image.numpy() - expected_image).max() <= TOLERANCES[task]
        assert np.array_equal(mask.numpy(), expected_mask)
        assert patients[number] == samples.patients[index]


@needs_shared
def test_real_pictures_too_are_the_readers() -> None:
    samples = stas_reader.samples(SHARED / "data/stas", ["00000000", "00000004", "00000071"])
    images, masks, _ = epoch(DaliLoader(samples, Shares(3), fit_of("stas", (800, 800), 3, seed=0, how=Augmentation())))
    for image, mask, index in zip(images, masks, Shares(3), strict=True):
        expected_image, expected_mask = samples[index]
        assert np.abs(image.numpy() - expected_image).max() <= TOLERANCES["stas"]
        assert (mask.numpy() != expected_mask).mean() < 1e-4  # a thousandth of a pixel decides which one is nearest


@pytest.mark.parametrize(
    "how",
    [
        training_of(network_named("gi-tract"), "train").augmentation,
        Augmentation(flip=1),
        Augmentation(move=1, shift=0.2, scale=0.3, rotate_deg=90),
        Augmentation(quarter_turns=1),
        Augmentation(quarter_turns=1, flip=1, bend=1, bend_by=0.05),
        Augmentation(bend=1, bend_by=0.05),
        Augmentation(holes=1, hole_side=0.1),
    ],
)
def test_image_and_mask_stay_aligned(how: Augmentation) -> None:
    images, masks, _ = epoch(DaliLoader(blobs(24), Shares(24), fit_of("gi-tract", SIZE, 8, seed=1, how=how)))
    plain, _, _ = epoch(DaliLoader(blobs(24), Shares(24), fit_of("gi-tract", SIZE, 8, seed=1, how=Augmentation())))
    assert not torch.equal(images, plain)
    differ = ((images > 0.5) != (masks > 0)).float().mean()
    assert differ < 0.004  # bilinear at 0.5 and nearest may part on the border alone
    assert (masks[:, 0] == masks[:, 2]).all()


def test_a_flip_is_a_mirror_image_and_a_turn_a_turn() -> None:
    plain, _, _ = epoch(DaliLoader(blobs(4), Shares(4), fit_of("gi-tract", SIZE, 4, seed=0, how=Augmentation())))
    flipped, _, _ = epoch(
        DaliLoader(blobs(4), Shares(4), fit_of("gi-tract", SIZE, 4, seed=0, how=Augmentation(flip=1)))
    )
    assert torch.allclose(flipped, plain.flip(-1), atol=1e-3)
    turned, _, _ = epoch(
        DaliLoader(blobs(4), Shares(4), fit_of("gi-tract", SIZE, 4, seed=0, how=Augmentation(quarter_turns=1)))
    )
    for one, other in zip(turned, plain, strict=True):
        assert any(torch.allclose(one, other.rot90(turns, (1, 2)), atol=1e-3) for turns in (1, 2, 3))


def test_the_seed_and_the_epoch_fix_everything_and_threads_nothing() -> None:
    def run(seed: int, number: int, threads: int) -> tuple[torch.Tensor, ...]:
        order = Shares(20)
        order.epoch = number
        return epoch(DaliLoader(blobs(20), order, fit_of("gi-tract", SIZE, 6, seed, threads=threads)))

    first = run(1, 2, 1)
    assert all(map(torch.equal, first, run(1, 2, 2)))
    assert not torch.equal(first[0], run(2, 2, 1)[0])
    assert not torch.equal(first[0], run(1, 3, 1)[0])


def test_processes_share_an_epoch_and_its_changes() -> None:
    whole = epoch(DaliLoader(blobs(21), Shares(21), fit_of("gi-tract", SIZE, 4, seed=0)))
    loaders = [DaliLoader(blobs(21), Shares(21, rank, 2), fit_of("gi-tract", SIZE, 4, seed=0)) for rank in (0, 1)]
    assert [len(loader) for loader in loaders] == [3, 3]
    assert [len(list(loader)) for loader in loaders] == [3, 3]
    for rank, loader in enumerate(loaders):
        assert all(map(torch.equal, epoch(loader), (part[rank::2] for part in whole)))


def test_every_epoch_of_one_loader_is_whole() -> None:
    loader = DaliLoader(blobs(10), Shares(10), fit_of("gi-tract", SIZE, 4, seed=0))
    assert [[len(images) for images, _, _ in loader] for _ in range(3)] == [[4, 4, 2]] * 3


def test_holes_are_black_in_image_and_mask() -> None:
    samples = blobs(8)
    images, masks, _ = epoch(
        DaliLoader(samples, Shares(8), fit_of("gi-tract", SIZE, 8, seed=0, how=Augmentation(holes=1, hole_side=0.2)))
    )
    plain, plain_masks, _ = epoch(
        DaliLoader(samples, Shares(8), fit_of("gi-tract", SIZE, 8, seed=0, how=Augmentation()))
    )
    gone = (images != plain).any(1)
    assert gone.any()
    assert not images[gone[:, None].expand_as(images)].any()
    assert not masks[gone[:, None].expand_as(masks)].any()
    kept = ~gone[:, None].expand_as(masks)
    assert torch.equal(masks[kept], plain_masks[kept])


def test_bending_moves_a_line_as_far_as_asked_and_leaves_others_alone() -> None:
    images = torch.zeros(2, 1, 100, 100)
    images[:, :, :, 50] = 1
    waves = torch.tensor([[0.1, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    changed = images.clone()
    bend(changed, images.to(torch.uint8), waves.numpy())
    assert torch.equal(changed[1], images[1])
    columns = changed[0, 0].argmax(1)
    assert (columns.min(), columns.max()) == (40, 60)


def test_epochs_share_a_pipeline_and_differ_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building one takes seconds on a GPU. An epoch that was left, or in which a picture failed, gives its own up."""
    from medseg.dali_pipelines import loader as module

    built: list[object] = []
    build = module.training_pipeline
    monkeypatch.setattr(module, "training_pipeline", lambda *how: (built.append(how), build(*how))[1])
    order = Shares(20)
    kept = DaliLoader(blobs(20), order, fit_of("gi-tract", SIZE, 6, seed=1))
    for number, pipelines in ((0, 1), (1, 1), (2, 1), (3, 2), (4, 2)):
        order.epoch = number
        if number == 3:
            batches = iter(kept)
            next(batches)
            batches.close()
        batches, held = epoch(kept), len(built)
        fresh = Shares(20)
        fresh.epoch = number
        assert all(map(torch.equal, batches, epoch(DaliLoader(blobs(20), fresh, fit_of("gi-tract", SIZE, 6, seed=1)))))
        built.pop()
        assert held == pipelines
