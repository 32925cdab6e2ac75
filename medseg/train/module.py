"""The one LightningModule: any network of the project, fitted by its recipe."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn

from medseg.data.augmentation import Augmentation, Colours
from medseg.models.activation import decided, mask_loss
from medseg.models.losses import loss_named
from medseg.task import Network, Recipe
from medseg.tasks import training_of
from medseg.train.augment import augment
from medseg.train.colours import coloured
from medseg.train.data import Batch
from medseg.train.optimizers import optimizer_for, schedule_for
from medseg.train.scores import answers, scores_for

# Convolutions are faster with the channels innermost: on a CPU a step takes 1.2 (2-D) to 2.5 times (3-D) less.
_CHANNELS_LAST = {3: torch.channels_last, 4: torch.channels_last_3d}  # by the axes of a sample


class Fit(pl.LightningModule):
    """Augments, steps and scores a network; `best_score` names what the best weights are chosen by.

    `augments` False is for batches whose pictures were moved by the loader. Their values are changed here in any case.
    """

    def __init__(
        self, network: Network, module: nn.Module, recipe: Recipe, patients: int, augments: bool = True
    ) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe
        self.module = module.to(memory_format=_CHANNELS_LAST[len(network.input_shape)])
        how = training_of(network, "train")
        self.augmentation = how.augmentation if augments else Augmentation()
        self.colours = how.colours or Colours()
        self.masks = len(network.output_shape) > 1
        self.loss = mask_loss(recipe.loss, network.activation) if self.masks else loss_named(recipe.loss)
        self.scores = scores_for(self.masks, patients, len(network.classes))
        self.best_score = "val_dice" if self.masks else "val_f1"
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Training mode for trained layers; frozen ones stay in evaluation mode, with their batch norms."""
        super().train(mode)
        for part in self.module.modules():
            learnt = [parameter.requires_grad for parameter in part.parameters()]
            if learnt and not any(learnt):
                part.eval()
        return self

    def training_step(self, batch: Batch, number: int) -> torch.Tensor:
        """The loss of an augmented batch, the epoch's `number`-th."""
        self._seed(number)
        images, targets, _numbers = batch
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            images = coloured(images, self.colours)
            images, masks = augment(images, targets if self.masks else None, self.augmentation)
        loss = self.loss(self.module(images), targets if masks is None else masks)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True, batch_size=len(images))
        return loss

    def _seed(self, number: int) -> None:
        """Seed augmentation and dropout by epoch and batch, so that a resumed fit repeats an uninterrupted one.

        By the epoch alone it would not: an iterator of a loader draws a number of its own, and a resumed fit makes that
        iterator after the epoch's start.
        """
        entropy = (self.recipe.seed, self.current_epoch, number, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def validation_step(self, batch: Batch, _: int) -> None:
        """Adds a batch to the validation loss and scores."""
        images, targets, numbers = batch
        logits = self.module(images)
        self.log("val_loss", self.loss(logits, targets), sync_dist=True, batch_size=len(images))
        self.scores.update(preds=self._answers(logits), target=targets, patients=numbers)

    def _answers(self, logits: torch.Tensor) -> torch.Tensor:
        """What the scores take: of masks, where they are above 0."""
        if not self.masks:
            return answers(logits)
        return decided(logits.float(), self.network.activation, len(self.network.classes))

    def on_validation_epoch_end(self) -> None:
        """Takes the epoch's scores."""
        self.log_dict({name: float(score) for name, score in self.scores.compute().items()})
        self.scores.reset()

    def configure_optimizers(self) -> Any:
        """The recipe's optimizer for the trained parameters, and its schedule."""
        learning = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        optimizer = optimizer_for(learning, self.recipe)
        return {"optimizer": optimizer, "lr_scheduler": schedule_for(optimizer, self.recipe)}
