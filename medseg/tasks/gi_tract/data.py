"""The UW-Madison GI tract collection as the task's data."""

from medseg.data.augmentation import Augmentation
from medseg.task import Data, Training
from medseg.tasks.gi_tract.check import inspect
from medseg.tasks.gi_tract.networks import GI_TRACT
from medseg.tasks.gi_tract.phantom import phantom
from medseg.tasks.gi_tract.reader import cases, patients, read, samples, split

# The same changes as in the reference project.
_CHANGES = Augmentation(
    flip=0.5, move=0.5, shift=0.0625, scale=0.05, rotate_deg=10, bend=0.25, bend_by=0.02, holes=0.5, hole_side=0.05
)

DATA = Data(
    patients=patients,
    read=read,
    cases=cases,
    check=inspect,
    phantom=phantom,
    split=split,
    training={GI_TRACT.name: Training(samples, _CHANGES)},
)
