"""What a GPU computes with is made where the batch lies: seen on torch's `meta` device, without a GPU.

Its tensors have shapes and types and no numbers, and go into no sum or product with one that was left on the CPU.
"""

from collections.abc import Iterator

import pytest
import torch
from torch.fx.experimental import _config

from medseg.data.augmentation import Augmentation, Colours
from medseg.models.activation import decided, mask_loss
from medseg.models.losses import LOSSES, loss_named
from medseg.task import Network
from medseg.tasks import task_named, task_names, training_of
from medseg.train.augment import augment
from medseg.train.colours import coloured

NETWORKS = [network for name in task_names() for network in task_named(name).networks]
EVERYTHING = {
    "flip": Augmentation(flip=1, flip_axes=(-1, -2)),
    "moved": Augmentation(move=1, shift=0.1, scale=0.1, stretch=0.1, rotate_deg=10),
    "turned": Augmentation(quarter_turns=1),
    "bent": Augmentation(bend=1, bend_by=0.05),
    "holes and noise": Augmentation(holes=1, hole_side=0.1, noise=0.1),
    "cropped": Augmentation(crop=(32, 32)),
}


@pytest.fixture(autouse=True)
def _all_chosen() -> Iterator[None]:
    """A loss chooses some pixels by their values, which tensors of this device do not have: take all for chosen."""
    with _config.patch(meta_nonzero_assume_all_nonzero=True):
        yield


def _meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


@pytest.mark.parametrize("network", NETWORKS, ids=[network.name for network in NETWORKS])
def test_a_training_step_of_every_network(network: Network) -> None:
    with torch.device("meta"):
        module = network.build(**network.options).train()
    how = training_of(network, "train")
    images = coloured(_meta(2, *network.input_shape), how.colours or Colours())
    masks = len(network.output_shape) > 1
    targets = _meta(2, *network.output_shape, dtype=torch.uint8) if masks else _meta(2, dtype=torch.int64)
    images, moved = augment(images, targets if masks else None, how.augmentation)
    recipe = network.recipe
    loss = mask_loss(recipe.loss, network.activation) if masks else loss_named(recipe.loss)
    logits = module(images)
    found = loss(logits, targets if moved is None else moved)
    found.backward()
    assert found.device.type == "meta"
    assert all(one.grad.device.type == "meta" for one in module.parameters() if one.grad is not None)
    if masks:
        assert decided(logits, network.activation, len(network.classes)).device.type == "meta"


@pytest.mark.parametrize("name", sorted(LOSSES.keys() - {"cross-entropy"}))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_loss(name: str, dtype: torch.dtype) -> None:
    logits = _meta(2, 3, 8, 8, dtype=dtype).requires_grad_()
    found = loss_named(name)(logits, _meta(2, 3, 8, 8, dtype=torch.uint8))
    found.backward()
    assert (found.device.type, found.dtype) == ("meta", torch.float32)


@pytest.mark.parametrize("how", EVERYTHING.values(), ids=EVERYTHING)
def test_every_change_of_pictures(how: Augmentation) -> None:
    images, masks = augment(_meta(2, 3, 64, 64), _meta(2, 1, 64, 64, dtype=torch.uint8), how)
    assert images.device.type == masks.device.type == "meta"


def test_every_change_of_values() -> None:
    how = Colours(contrast=0.1, brightness=0.1, gamma=0.1, replaced=0.5, replaceable=(0, 2), by=1)
    assert coloured(_meta(2, 3, 16, 16), how).device.type == "meta"


def test_a_tensor_that_stays_on_the_cpu_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="not on the expected device meta"):
        _meta(8) * torch.zeros(8)
