"""A folder of pictures and masks as the task's data."""

from __future__ import annotations

from functools import partial

from medseg.data.augmentation import Augmentation
from medseg.task import Data, Training
from medseg.tasks.picture.check import inspect
from medseg.tasks.picture.description import Picture
from medseg.tasks.picture.networks import NAME
from medseg.tasks.picture.phantom import phantom
from medseg.tasks.picture.reader import cases, patients, read, samples, split

# Changes that suit pictures of any content: mirror images, and small shifts, scales and rotations.
_CHANGES = Augmentation(flip=0.5, move=0.75, shift=0.05, scale=0.1, rotate_deg=15)


def data_of(picture: Picture | None) -> Data:
    """The data folder for a description. Without one there is no training, only checks and made-up pictures."""
    known = {NAME: Training(partial(samples, picture), _CHANGES, resizable=False)} if picture else {}
    return Data(
        patients=patients,
        read=partial(read, picture),
        cases=cases,
        check=partial(inspect, picture),
        phantom=phantom,
        split=split,
        training=known,
    )
