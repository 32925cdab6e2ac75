"""`--loader`: DALI feeds a fit as torch's loader does, and a resumed fit keeps the loader it was started with."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from medseg.api.loaders import fed
from medseg.data.augmentation import Augmentation, Colours
from medseg.errors import InputError
from medseg.run import Run
from medseg.task import Network
from medseg.tasks import network_named, task_named
from medseg.train.data import DataModule
from medseg.train.fit import fit
from medseg.train.module import Fit
from medseg.train.settings import Settings, recipe_with


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Callable[[str], Path]:
    @cache
    def made(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        task_named(name).known_data("test").phantom(folder, 5 if name == "gi-tract" else 2, 0)
        return folder

    return made


def data_module(name: str, folder: Path, batch_size: int = 4) -> DataModule:
    network: Network = network_named(name)
    recipe = recipe_with(network, {"epochs": 1, "batch_size": batch_size})
    return DataModule(network, folder, Settings(recipe, size=64, samples_per_epoch=10))


@pytest.mark.parametrize("name", ["gi-tract", "brain-lgg"])
def test_both_loaders_give_batches_of_one_kind(name: str, folders) -> None:
    data = data_module(name, folders(name))
    kinds = []
    for loader in ("torch", "dali"):
        assert fed(data, loader).loader == loader
        batches = list(data.train_dataloader())
        assert sum(len(images) for images, _, _ in batches) == 10
        kinds.append([(part.shape[1:], part.dtype) for part in batches[0]])
    assert kinds[0] == kinds[1]


def test_a_fit_that_dali_feeds_is_not_augmented_again_and_is_recorded(folders, tmp_path: Path) -> None:
    data = data_module("brain-lgg", folders("brain-lgg"))
    settings = fed(data, "dali")
    torch.manual_seed(0)
    module = data.network.build(arch="unet", features=4)
    run = Run.create(tmp_path / "run", "brain-lgg", {"arch": "unet", "features": 4}, {"loader": settings.loader})
    fit(run, data, settings, module)
    assert run.manifest["result"]["epochs"] == 1
    assert fed(data, "auto", run).loader == "dali"
    images = torch.rand(2, 3, 32, 32)
    seen = []
    module = torch.nn.Conv2d(3, 1, 1)
    module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    lightning = Fit(data.network, module, settings.recipe, patients=2, augments=False)
    lightning.colours = Colours()  # they are changed whoever moved the pictures
    lightning.log = lambda *_, **__: None
    lightning.training_step((images, torch.zeros(2, 1, 32, 32, dtype=torch.uint8), torch.tensor([0, 1])), 0)
    assert torch.equal(seen[0], images)


def test_auto_measures_and_decides(folders) -> None:
    assert fed(data_module("gi-tract", folders("gi-tract"), batch_size=2), "auto").loader in ("torch", "dali")


def test_a_loader_that_cannot_be_had_is_refused_in_words(folders) -> None:
    data = data_module("gi-tract", folders("gi-tract"))
    with pytest.raises(InputError, match="--loader is 'fast'; expected one of torch, dali, auto"):
        fed(data, "fast")


@pytest.mark.parametrize("loader", ["torch", "dali"])
def test_a_further_process_of_a_fit_takes_the_loader_that_the_first_one_chose(
    loader: str, folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measuring again it might choose otherwise, and one epoch would be augmented in two ways."""
    from medseg.api import loaders
    from medseg.cli.train import train

    recorded = {} if loader == "torch" else {"loader": loader}  # as the settings are: without what is the default
    Run.create(tmp_path / "run", "brain-lgg", {}, {"kind": "train", **recorded})
    seen: list[bool] = []

    def stopped(run: Run, data: DataModule, *_: object) -> None:
        seen.append(data.feed is not None)
        raise SystemExit

    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(loaders, "faster", lambda _: pytest.fail("measured again"))
    monkeypatch.setattr("medseg.api.train.fit", stopped)
    with pytest.raises(SystemExit):
        train("brain-lgg", folders("brain-lgg"), tmp_path / "run", devices=2, size=64, features=2)
    assert seen == [loader == "dali"]


def test_both_loaders_are_timed_to_the_same_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device of the fit, where torch's batches are moved as the fit moves them."""
    from medseg.api import loaders

    where: list[str] = []
    monkeypatch.setattr(loaders, "augment", lambda images, masks, how: where.append(f"{images.device} {masks.device}"))
    batch = (torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2))
    assert loaders.seconds_a_batch([batch] * 3, Augmentation(flip=1), torch.device("meta")) >= 0
    assert where == ["meta meta"] * 3
    assert loaders.seconds_a_batch([batch], None, torch.device("meta")) == float("inf")
