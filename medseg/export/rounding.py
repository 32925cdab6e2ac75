"""Matrices in int8: fitted to rounded inputs by least squares, then rounded so that the errors of a row cancel.

Every matrix here is a batch of them: (groups, rows, inputs) for weights, (groups, places, inputs) for what they meet.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medseg.export.evening import LEVELS

RIDGE = 1.0  # of the inputs' mean square: what draws fitted weights to the network's own
DAMPING = 0.01  # of the same: what keeps the rounding stable
TINY = 1e-12  # a step, or a mean square, is never zero
BLOCK = 64  # inputs after which what was lost is passed on to all that follow


class Moments:
    """Means and products of inputs before and after their rounding, summed over many places."""

    def __init__(self, groups: int, inputs: int, with_products: bool) -> None:
        self._count = 0
        self._exact, self._rounded = (torch.zeros(groups, inputs, dtype=torch.float64) for _ in range(2))
        sizes = (groups, inputs, inputs) if with_products else (0, 0, 0)
        self._gram, self._lost = (torch.zeros(sizes) for _ in range(2))
        self._around: Tensor | None = None  # products are summed around the first places' mean, so that few digits go

    def add(self, exact: Tensor, rounded: Tensor) -> None:
        """Count float32 inputs of more places (groups, places, inputs)."""
        self._count += exact.shape[1]
        self._exact += exact.sum(1, dtype=torch.float64)
        self._rounded += rounded.sum(1, dtype=torch.float64)
        if len(self._gram):
            self._around = rounded.mean(1, keepdim=True) if self._around is None else self._around
            moved = rounded - self._around
            self._gram += moved.mT @ moved
            self._lost += moved.mT @ (exact - rounded)

    def fitted(self, own: Tensor) -> Tensor:
        """The weights whose answers to rounded inputs vary most like those of `own` to exact ones."""
        if not len(self._gram):
            return own
        gram, lost = self._centred()
        return own + own @ torch.linalg.solve(_ridged(gram, RIDGE), lost).mT

    def levels(self, weights: Tensor, steps: Tensor) -> Tensor:
        """The weights in whole steps (groups, rows, 1): what one loses is made up for by those after it."""
        if not len(self._gram):
            return levels_of(weights, steps)
        factor = torch.linalg.cholesky(_ridged(self._centred()[0], DAMPING))
        passed = torch.linalg.cholesky(torch.cholesky_inverse(factor), upper=True)
        left, found = weights.clone(), torch.empty_like(weights)
        for first in range(0, weights.shape[-1], BLOCK):
            block = slice(first, first + BLOCK)
            losses = torch.zeros_like(left[..., block])
            for place in range(losses.shape[-1]):
                at = first + place
                found[..., at] = levels_of(left[..., at], steps[..., 0])
                loss = (left[..., at] - found[..., at] * steps[..., 0]) / passed[:, None, at, at]
                left[..., at : first + BLOCK] -= loss[..., None] * passed[:, None, at, at : first + BLOCK]
                losses[..., place] = loss
            left[..., first + BLOCK :] -= losses @ passed[:, block, first + BLOCK :]
        return found

    def drift(self, own: Tensor, found: Tensor) -> Tensor:
        """By how much the mean answer (groups, rows) of `own` is above that of `found`, which met rounded inputs."""
        return ((own @ self._exact[..., None] - found @ self._rounded[..., None]) / self._count)[..., 0]

    def _centred(self) -> tuple[Tensor, Tensor]:
        assert self._around is not None
        moved = self._rounded - self._count * self._around[:, 0]
        lost = self._exact - self._rounded
        outer = moved[..., None] / self._count
        return self._gram.double() - outer * moved[:, None], self._lost.double() - outer * lost[:, None]


def steps_for(weights: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The step with which the largest weight along these axes is the last level; the axes stay, with length 1."""
    return weights.abs().amax(axes, keepdim=True).clamp_min(TINY) / LEVELS


def levels_of(weights: Tensor, steps: Tensor) -> Tensor:
    """The nearest level of each weight."""
    return (weights / steps).round().clamp(-LEVELS, LEVELS)


def _ridged(gram: Tensor, share: float) -> Tensor:
    mean = gram.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(TINY)
    return gram + share * torch.diag_embed(mean[:, None].expand(gram.shape[:2]))
