"""Every network takes a finite step in mixed precision and can learn four samples by heart."""

import warnings

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from medseg.models.brain import brain_network, resnext_fpn, resnext_unet
from medseg.models.deeplab import deeplab
from medseg.models.encoder_unet import encoder_unet
from medseg.models.losses import loss_named
from medseg.models.luna_cnn import luna_cnn
from medseg.models.luna_unet import luna_unet
from medseg.task import Recipe
from medseg.tasks import network_named
from medseg.train.fit import quiet
from medseg.train.module import Fit
from medseg.train.optimizers import optimizer_for
from medseg.train.scores import PatientDice

ARCHITECTURES = ("unet", "unet-residual", "unet-resnext50", "fpn", "unetpp", "unet3p")
STAS = ("stas-efficientnetv2-m", "stas-eca-nfnet-l2", "stas-efficientnet-b6")
STEPS = [("luna-segment", {}), ("luna-nodule", {}), ("luna-malignancy", {}), ("gi-tract", {})]
STEPS += [("brain-lgg", {"arch": arch, "features": 8}) for arch in ARCHITECTURES]
STEPS += [pytest.param(name, {}, marks=pytest.mark.slow) for name in STAS]


@pytest.mark.parametrize(("name", "options"), STEPS)
def test_one_step_in_mixed_precision_is_finite_and_moves_the_weights(name, options):
    network = network_named(name)
    torch.manual_seed(0)
    module = network.build(**{**network.options, **options})
    masks = len(network.output_shape) > 1
    size = (7 if name == "luna-segment" else 3, 96, 96) if masks else network.input_shape
    images = torch.rand(2, *size) * (network.input_range[1] - network.input_range[0]) + network.input_range[0]
    targets = torch.randint(0, 2, (2, network.output_shape[0], 96, 96)) if masks else torch.tensor([0, 1])
    fit = Fit(network, module, network.recipe, patients=2)
    before = [parameter.clone() for parameter in module.parameters()]
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            accelerator="cpu", precision="bf16-mixed", fast_dev_run=1, logger=False, enable_progress_bar=False
        )
        trainer.fit(fit, DataLoader(TensorDataset(images, targets.to(torch.int64), torch.tensor([0, 1])), batch_size=2))
    assert torch.isfinite(trainer.callback_metrics["train_loss"])
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


# Every family at its smallest: where a network stands on an encoder, on that encoder's little sibling.
OVERFIT = {
    "luna-segment": lambda: luna_unet(features=8),
    "gi-tract": lambda: encoder_unet("tu-mobilenetv3_small_100"),
    **{f"brain-lgg {arch}": (lambda arch=arch: brain_network(arch, 4)) for arch in ARCHITECTURES if "unet" in arch},
    "brain-lgg unet-resnext50": lambda: resnext_unet(16, "resnet18"),
    "brain-lgg fpn": lambda: resnext_fpn(8, "resnet18"),
    "stas tf_efficientnetv2": lambda: deeplab("tu-tf_efficientnetv2_b0"),
    "stas eca_nfnet": lambda: deeplab("tu-eca_nfnet_l0"),
    "stas tf_efficientnet": lambda: deeplab("tu-tf_efficientnet_b0"),
}

FASTER = {"brain-lgg unet-residual": 1e-2, "brain-lgg unet-resnext50": 1e-2}  # half as many steps as at 3e-3


def discs(channels: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Four noisy 64 x 64 pictures of bright discs, and the discs."""
    generator = torch.Generator().manual_seed(1)
    rows, cols = torch.arange(64)[:, None], torch.arange(64)
    centres = torch.rand(4, classes, 2, 1, 1, generator=generator) * 24 + 20
    masks = ((rows - centres[:, :, 0]) ** 2 + (cols - centres[:, :, 1]) ** 2 < 14**2).to(torch.uint8)
    noise = torch.randn(4, channels, 64, 64, generator=generator) * 0.2
    return noise + masks.float().repeat(1, channels // classes, 1, 1), masks


def without_dropout(module: nn.Module) -> nn.Module:
    """Dropout is there to hinder what is tested here; batch statistics stay those of the four samples."""
    for part in module.modules():
        if isinstance(part, nn.Dropout | nn.Dropout2d):
            part.p = 0.0
    return module


@pytest.mark.parametrize("name", OVERFIT)
def test_four_samples_are_learnt_by_heart(name):
    torch.manual_seed(0)
    module = without_dropout(OVERFIT[name]())
    images, masks = discs(7 if name == "luna-segment" else 3, 3 if name == "gi-tract" else 1)
    optimizer = optimizer_for(module.parameters(), Recipe(epochs=1, batch_size=4, lr=FASTER.get(name, 3e-3)))
    loss = loss_named("bce-tversky")
    for step in range(150):
        logits = module(images)
        if step % 10 == 9 and dice(logits, masks) > 0.96:
            break
        optimizer.zero_grad()
        loss(logits, masks).backward()
        optimizer.step()
    assert dice(module(images), masks) > 0.95


def dice(logits: torch.Tensor, masks: torch.Tensor) -> float:
    """The fit's own score, one patient a sample."""
    score = PatientDice(4, masks.shape[1])
    score.update(logits.detach(), masks, torch.arange(4))
    return float(score.compute())


def test_nodule_network_learns_four_crops_by_heart():
    torch.manual_seed(0)
    module, classes = luna_cnn(features=2), torch.tensor([0, 1, 0, 1])
    crops = torch.randn(4, 1, 32, 48, 48) * 100 - 800
    crops[classes == 1, :, 12:20, 20:28, 20:28] += 800
    optimizer = optimizer_for(module.parameters(), Recipe(epochs=1, batch_size=4, lr=3e-3))
    for _ in range(30):
        loss = loss_named("cross-entropy")(module(crops), classes)
        if loss < 0.1:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert module(crops).argmax(1).tolist() == classes.tolist()
