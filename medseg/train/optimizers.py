"""Optimizers and learning-rate schedules by the names a recipe uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from timm.optim.adabelief import AdaBelief
from torch import nn
from torch.optim import lr_scheduler

from medseg.errors import InputError, unknown
from medseg.task import Recipe

Scheduler = lr_scheduler.LRScheduler


def _adabelief(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdaBelief as STAS used it: betas 0.9 and 0.99, eps 1e-16, decoupled decay."""
    return AdaBelief(parameters, lr, betas=(0.9, 0.99), eps=1e-16, weight_decay=weight_decay, decoupled_decay=True)


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "adabelief": _adabelief,
}


def optimizer_for(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer. Raises InputError listing the names there are."""
    if recipe.optimizer not in OPTIMIZERS:
        raise InputError(unknown("optimizer", recipe.optimizer, OPTIMIZERS))
    more: dict[str, Any] = {"momentum": recipe.momentum} if recipe.optimizer == "sgd" else {}
    return OPTIMIZERS[recipe.optimizer](parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, **more)


def schedule_for(optimizer: torch.optim.Optimizer, recipe: Recipe) -> Scheduler:
    """The recipe's learning-rate schedule, stepped once an epoch. Raises InputError listing the names there are."""
    if recipe.schedule not in SCHEDULES:
        raise InputError(unknown("schedule", recipe.schedule, SCHEDULES))
    return SCHEDULES[recipe.schedule](optimizer, recipe.epochs)


def _linear(optimizer: torch.optim.Optimizer, epochs: int) -> Scheduler:
    """From the full rate in equal steps; the last epoch has one step left above zero."""
    return lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=1 / epochs, total_iters=max(1, epochs - 1))


SCHEDULES: dict[str, Callable[[torch.optim.Optimizer, int], Scheduler]] = {
    "constant": lambda optimizer, _: lr_scheduler.ConstantLR(optimizer, factor=1.0),
    "cosine": lambda optimizer, epochs: lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs),
    "linear": _linear,
}
