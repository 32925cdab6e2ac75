"""The kaggle_3m collection as the task's data."""

from __future__ import annotations

import numpy as np

from medseg.data.augmentation import Augmentation, Colours
from medseg.data.samples import Samples
from medseg.task import Array, Data, Training
from medseg.tasks.brain_lgg.check import inspect
from medseg.tasks.brain_lgg.networks import BRAIN_LGG
from medseg.tasks.brain_lgg.phantom import phantom
from medseg.tasks.brain_lgg.reader import cases, patients, read, samples, split

TUMOUR_FLOOR = 0.1  # every slice gets this share of the patient's mean tumour size more, so those without have some
_CHANGES = Augmentation(flip=0.5, move=1, scale=0.05, rotate_deg=15)
# Values are in standard deviations. The changes of values imitate other scanners. Where a patient has no pre- or
# post-contrast series, the collection's files have FLAIR in its place; `replaced` imitates this.
_COLOURS = Colours(contrast=0.1, brightness=0.1, gamma=0.3, replaced=0.2, replaceable=(0, 2), by=1)


def tumour_weighted(samples: Samples) -> Array:
    """Weights (n,) by tumour size within each patient. A patient's weights add up to its number of slices."""
    weights = np.ones(len(samples))
    for patient in set(samples.patients):
        own = np.array([other == patient for other in samples.patients])
        pixels = samples.foreground[own]
        if pixels.any():
            share = pixels + TUMOUR_FLOOR * pixels.mean()
            weights[own] = own.sum() * share / share.sum()
    return weights


DATA = Data(
    patients=patients,
    read=read,
    cases=cases,
    check=inspect,
    phantom=phantom,
    split=split,
    training={BRAIN_LGG.name: Training(samples, _CHANGES, _COLOURS, tumour_weighted)},
)
