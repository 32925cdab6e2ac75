"""LUNA16 as the task's data."""

from medseg.data.augmentation import Augmentation
from medseg.data.samples import balanced
from medseg.task import Data, Training
from medseg.tasks.luna.calibration import crops, slices
from medseg.tasks.luna.check import inspect
from medseg.tasks.luna.networks import MALIGNANCY, NODULE, SEGMENT
from medseg.tasks.luna.phantom import phantom
from medseg.tasks.luna.reader import (
    cases,
    malignancy_samples,
    nodule_samples,
    patients,
    read,
    segment_samples,
    split,
)

# As in the reference project; full rotation makes sense because a nodule has no upright orientation.
_SLICES = Augmentation(
    flip=0.5, flip_axes=(-2, -1), move=1, shift=0.015, stretch=0.2, rotate_deg=180, noise=25, crop=(64, 64)
)
_CROPS = Augmentation(flip=0.5, flip_axes=(-3, -2, -1), move=1, shift=0.05, stretch=0.2, rotate_deg=180, noise=25)

# Nothing is resized, because the networks recognise nodules by their size.
DATA = Data(
    patients=patients,
    read=read,
    cases=cases,
    check=inspect,
    phantom=phantom,
    split=split,
    training={
        SEGMENT.name: Training(segment_samples, _SLICES, resizable=False, calibration=slices),
        NODULE.name: Training(
            nodule_samples, _CROPS, weights=balanced, resizable=False, calibration=crops(nodule_samples)
        ),
        MALIGNANCY.name: Training(
            malignancy_samples, _CROPS, weights=balanced, resizable=False, calibration=crops(malignancy_samples)
        ),
    },
)
