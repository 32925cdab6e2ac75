"""Losses are what their names say, finite where there is nothing to find, and teach in the right direction."""

import pytest
import torch

from medseg.errors import InputError
from medseg.models.losses import LOSSES, loss_named

MASK_LOSSES = sorted(LOSSES.keys() - {"cross-entropy"})
TRUTH = (torch.arange(64).reshape(1, 1, 8, 8) % 3 == 0).float()
SURE = TRUTH * 40 - 20  # logits that are right and certain


@pytest.mark.parametrize("name", MASK_LOSSES)
def test_perfect_answer_costs_next_to_nothing_and_its_opposite_a_lot(name):
    loss = loss_named(name)
    assert loss(SURE, TRUTH) < 1e-3
    assert loss(-SURE, TRUTH) > 0.4


@pytest.mark.parametrize("name", MASK_LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_empty_masks_give_finite_losses_and_gradients(name, dtype):
    logits = torch.full((2, 3, 8, 8), -4.0, dtype=dtype, requires_grad=True)
    loss = loss_named(name)(logits, torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


def test_dice_and_iou_of_a_half_answer():
    half = TRUTH.new_full((1, 1, 8, 8), -20.0)
    inside = TRUTH[0, 0].nonzero()[: int(TRUTH.sum()) // 2]
    half[0, 0, inside[:, 0], inside[:, 1]] = 20.0
    found, truth = len(inside), int(TRUTH.sum())
    assert loss_named("dice")(half, TRUTH).item() == pytest.approx(1 - (2 * found + 1) / (found + truth + 1), abs=1e-4)
    assert loss_named("iou")(half, TRUTH).item() == pytest.approx(1 - (2 * found + 1) / (2 * truth + 1), abs=1e-4)


def test_luna_weighs_a_missed_nodule_eight_times_more():
    nothing = TRUTH.new_full((1, 1, 8, 8), -20.0)
    everything = -nothing
    truth = int(TRUTH.sum())
    missed = 9 * (1 - 1 / (truth + 1))
    overfull = 1 - (2 * truth + 1) / (64 + truth + 1)
    assert loss_named("luna-dice")(nothing, TRUTH).item() == pytest.approx(missed, abs=1e-3)
    assert loss_named("luna-dice")(everything, TRUTH).item() == pytest.approx(overfull, abs=1e-3)


def test_focal_tversky_weighs_a_missed_pixel_more_than_a_false_one():
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., :4, :] = 1
    less, more = truth.clone(), truth.clone()
    less[..., 3, :], more[..., 4, :] = 0, 1
    loss = loss_named("focal-tversky")
    assert loss(less * 40 - 20, truth) > loss(more * 40 - 20, truth)


def test_sampled_bce_sees_about_half_and_agrees_in_the_mean():
    torch.manual_seed(0)
    logits, truth = torch.randn(4, 1, 64, 64), torch.randint(0, 2, (4, 1, 64, 64))
    drawn = torch.stack([loss_named("bce-sampled")(logits, truth) for _ in range(20)])
    assert drawn.std() > 0
    assert drawn.mean().item() == pytest.approx(loss_named("bce")(logits, truth).item(), rel=0.02)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=r"loss 'hinge' is unknown; expected one of bce, .*, dice"):
        loss_named("hinge")
