"""Sampling, augmentation, optimizers and scores: the parts of a fit that can be wrong without anybody noticing."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from medseg.data.augmentation import Augmentation, Colours
from medseg.data.samples import Samples, balanced
from medseg.errors import InputError
from medseg.task import Recipe
from medseg.tasks import network_named, task_named, task_names, training_of
from medseg.tasks.brain_lgg.data import tumour_weighted
from medseg.train.augment import augment
from medseg.train.colours import coloured
from medseg.train.data import Batches
from medseg.train.fit import freeze
from medseg.train.module import Fit
from medseg.train.optimizers import OPTIMIZERS, SCHEDULES, optimizer_for, schedule_for
from medseg.train.sampling import EpochSampler, shares
from medseg.train.scores import PatientDice, scores_for
from medseg.train.settings import recipe_with


def test_an_epochs_order_depends_on_seed_and_epoch_alone():
    sampler = EpochSampler(50, None, seed=3)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert list(sampler) == first


def test_an_epoch_that_is_told_after_the_iterator_was_made_fixes_its_order():
    """A resumed fit makes the iterator first; it learnt from epoch 0's order once."""
    sampler = EpochSampler(50, None, seed=3)
    drawn = iter(Batches(sampler, 8))
    sampler.set_epoch(1)
    assert [index for batch in drawn for index in batch] == list(sampler)


def test_processes_share_an_epoch_without_overlap():
    parts = [list(EpochSampler(51, None, seed=3, rank=rank, ranks=2)) for rank in (0, 1)]
    assert len(parts[0]) == len(parts[1]) == 25
    assert not set(parts[0]) & set(parts[1])
    assert sorted([*shares(0, 3, 10), *shares(1, 3, 10), *shares(2, 3, 10)]) == list(range(10))


@pytest.mark.parametrize("count", [20, 120])
def test_an_epoch_of_another_length_draws_from_all_samples(count):
    sampler = EpochSampler(50, None, seed=3, count=count)
    seen = []
    for epoch in range(10):
        sampler.set_epoch(epoch)
        drawn = list(sampler)
        assert len(drawn) == len(sampler) == count
        assert max(np.bincount(drawn)) <= -(-count // 50)
        seen += drawn
    assert set(seen) == set(range(50))


def test_rare_nodules_are_half_of_what_is_seen():
    classes = np.array([0] * 990 + [1] * 10)
    drawn = classes[
        list(
            EpochSampler(
                len(classes), balanced(Samples(partial(max, 0), ("a",) * len(classes), classes)), seed=0, count=4000
            )
        )
    ]
    assert drawn.mean() == pytest.approx(0.5, abs=0.03)


def test_slices_are_weighed_by_tumour_within_each_patient():
    samples = Samples(partial(max, 0), ("a", "a", "b", "b", "b"), np.array([0.0, 100, 0, 0, 0]))
    weights = tumour_weighted(samples)
    assert weights[:2].tolist() == pytest.approx([2 * 5 / 110, 2 * 105 / 110])
    assert weights[2:].tolist() == [1, 1, 1]


def augmentation(network: str) -> Augmentation:
    return training_of(network_named(network), "train").augmentation


PICTURE = torch.zeros(6, 1, 33, 33)
PICTURE[:, :, 8:25, 12:21] = 1


@pytest.mark.parametrize("how", [augmentation(name) for name in ("brain-lgg", "stas-eca-nfnet-l2", "gi-tract")])
def test_masks_move_with_their_images(how):
    torch.manual_seed(0)
    images, masks = augment(PICTURE, PICTURE.to(torch.uint8), Augmentation(**{**vars(how), "holes": 0.0, "noise": 0.0}))
    assert masks.dtype == torch.uint8
    assert ((images > 0.5) == (masks > 0)).float().mean() > 0.98
    assert any(not torch.equal(masks[0], other) for other in masks[1:])


def test_flips_alone_are_exact():
    torch.manual_seed(0)
    images = torch.rand(32, 2, 5, 7)
    changed, _ = augment(images, None, Augmentation(flip=0.5))
    same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(images, changed, strict=True)]
    mirrored = [torch.allclose(a.flip(-1), b, atol=1e-5) for a, b in zip(images, changed, strict=True)]
    assert all(a or b for a, b in zip(same, mirrored, strict=True))
    assert any(same)
    assert any(mirrored)


def test_quarter_turns_are_exact():
    torch.manual_seed(0)
    images = torch.rand(16, 1, 8, 8)
    changed, _ = augment(images, None, Augmentation(quarter_turns=1.0))
    for before, after in zip(images, changed, strict=True):
        assert any(torch.allclose(before.rot90(k, (1, 2)), after, atol=1e-4) for k in (1, 2, 3))


def test_a_crop_is_a_part_of_the_picture():
    torch.manual_seed(0)
    images, masks = augment(PICTURE, PICTURE.to(torch.uint8), Augmentation(crop=(16, 16)))
    assert images.shape == masks.shape == (6, 1, 16, 16)
    assert {round(float(image.sum())) for image in images} != {17 * 9}


@pytest.mark.parametrize("shape", [(2, 1, 8, 12, 12), (2, 7, 96, 96)])
def test_lunas_crops_and_cut_outs_are_augmented(shape):
    name = "luna-nodule" if len(shape) == 5 else "luna-segment"
    changed, _ = augment(torch.zeros(shape), None, augmentation(name))
    assert changed.std().item() == pytest.approx(25, rel=0.2)


def test_colours_change_each_channel_within_their_bounds():
    torch.manual_seed(0)
    images = torch.randn(64, 3, 8, 8)
    changed = coloured(images, Colours(contrast=0.2, brightness=0.1))
    flat, was = changed.flatten(2), images.flatten(2)
    stretched = flat.std(2) / was.std(2)
    assert 0.8 <= stretched.min() < 0.85 and 1.15 < stretched.max() <= 1.2
    assert (flat.mean(2) - stretched * was.mean(2)).abs().max() <= 0.1001
    assert stretched.flatten().unique().numel() == 64 * 3, "each channel by its own number"


def test_gamma_keeps_a_channels_order_and_ends():
    torch.manual_seed(0)
    images = torch.randn(8, 3, 8, 8)
    changed = coloured(images, Colours(gamma=0.5)).flatten(2)
    was = images.flatten(2)
    assert torch.allclose(changed.amin(2), was.amin(2), atol=1e-5) and torch.allclose(
        changed.amax(2), was.amax(2), atol=1e-5
    )
    assert not torch.allclose(changed, was, atol=0.01)
    in_order = torch.gather(changed, 2, was.argsort(2))
    assert (in_order.diff(dim=2) >= -1e-5).all()
    flat = torch.ones(2, 3, 4, 4)
    assert torch.equal(coloured(flat, Colours(gamma=0.5)), flat), "a channel of one value stays finite"


def test_a_missing_series_shows_flair_in_its_place():
    torch.manual_seed(0)
    images = torch.randn(400, 3, 4, 4)
    how = Colours(replaced=0.2, replaceable=(0, 2), by=1)
    changed = coloured(images, how)
    before, after = ((changed[:, channel] == images[:, 1]).flatten(1).all(1) for channel in (0, 2))
    assert torch.equal(changed[:, 1], images[:, 1]) and not (before & after).any()
    assert 20 < before.sum() < 60 and 20 < after.sum() < 60
    kept = ~(before | after)
    assert torch.equal(changed[kept], images[kept])


def test_no_network_but_brain_lggs_changes_colours_and_none_by_default():
    images = torch.rand(2, 3, 4, 4)
    assert coloured(images, Colours()) is images
    networks = [network for task in task_names() for network in task_named(task).networks]
    assert [one.name for one in networks if training_of(one, "train").colours] == ["brain-lgg"]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_optimizer_and_schedule_learns(optimizer, schedule):
    weight = nn.Parameter(torch.tensor([1.0]))
    recipe = Recipe(epochs=8, batch_size=1, lr=0.02, optimizer=optimizer, schedule=schedule, weight_decay=1e-4)
    chosen = optimizer_for([weight], recipe)
    steps = schedule_for(chosen, recipe)
    rates = []
    for _ in range(recipe.epochs):
        rates.append(chosen.param_groups[0]["lr"])
        chosen.zero_grad()
        (weight**2).sum().backward()
        chosen.step()
        steps.step()
    assert abs(weight.item()) < 1
    assert rates[0] == pytest.approx(0.02)
    assert rates[-1] == pytest.approx(0.02) if schedule == "constant" else 0 < rates[-1] < 0.004


def test_unknown_names_list_the_known_ones():
    recipe = Recipe(epochs=1, batch_size=1, lr=1, optimizer="lion", schedule="step")
    with pytest.raises(InputError, match="optimizer 'lion' is unknown; expected one of adam, adamw, sgd, adabelief"):
        optimizer_for([], recipe)
    with pytest.raises(InputError, match="schedule 'step' is unknown; expected one of constant, cosine, linear"):
        schedule_for(torch.optim.SGD([nn.Parameter(torch.zeros(1))]), recipe)


def test_patient_dice_joins_a_patients_slices_and_scores_absent_classes_one():
    score = PatientDice(2, 2)
    logits, truth = torch.full((3, 2, 2, 2), -1.0), torch.zeros(3, 2, 2, 2)
    truth[:2, 0] = 1  # patient 0: two slices full of class 0, of which one is found
    logits[0, 0] = 1
    score.update(logits, truth, torch.tensor([0, 0, 1]))
    assert float(score.compute()) == pytest.approx((2 * 4 / (4 + 8) + 1 + 1 + 1) / 4)


def test_two_classes_are_scored_by_their_confusion():
    scores = scores_for(mask=False, patients=1, classes=2)
    preds = torch.tensor([0.9, 0.8, 0.2, 0.6])
    scores.update(preds=preds, target=torch.tensor([1, 1, 1, 0]), patients=torch.zeros(4, dtype=torch.long))
    found = {name: float(value) for name, value in scores.compute().items()}
    losses = {"val_loss_pos": -np.log([0.9, 0.8, 0.2]).mean(), "val_loss_neg": -np.log(0.4)}
    shares = {"val_accuracy": 0.5, "val_precision": 2 / 3, "val_recall": 2 / 3, "val_specificity": 0, "val_f1": 2 / 3}
    assert found == pytest.approx({**shares, **losses})


def test_a_class_that_is_not_there_has_no_loss():
    scores = scores_for(mask=False, patients=1, classes=2)
    scores.update(preds=torch.tensor([0.5]), target=torch.tensor([1]), patients=torch.zeros(1, dtype=torch.long))
    assert scores.compute()["val_loss_neg"] == 0


@pytest.mark.parametrize(("trainable", "parts"), [("head", {"head_linear"}), ("last-block", {"block4", "head_linear"})])
def test_fine_tuning_leaves_the_rest_alone(trainable, parts):
    network = network_named("luna-malignancy")
    module = network.build(**network.options)
    freeze(module, trainable)
    assert {name.split(".")[0] for name, parameter in module.named_parameters() if parameter.requires_grad} == parts


def test_what_is_frozen_keeps_its_batch_statistics():
    network = network_named("luna-malignancy")
    module = network.build(features=2)
    freeze(module, "head")
    fit = Fit(network, module, network.recipe, patients=1)
    fit.train()
    fit.module(torch.randn(2, 1, 32, 48, 48) * 300 - 600)
    assert fit.module.head_linear.training
    assert module.tail_batchnorm.running_mean.item() == 0
    assert module.tail_batchnorm.num_batches_tracked.item() == 0


def test_numbers_that_make_no_sense_are_refused():
    network = network_named("luna-nodule")
    with pytest.raises(InputError, match="--epochs is 0; expected a number above zero"):
        recipe_with(network, {"epochs": 0})
    with pytest.raises(InputError, match="precision '8' is unknown; expected one of 32-true, 16-mixed, bf16-mixed"):
        recipe_with(network, {"precision": "8"})


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has 16-bit floats")
def test_half_precision_is_refused_on_a_cpu_and_not_replaced():
    network = network_named("gi-tract")
    assert recipe_with(network, {}).precision == "32-true"
    with pytest.raises(InputError, match="16-mixed needs a GPU"):
        recipe_with(network, {"precision": "16-mixed"})
