"""The STAS collection as the task's data."""

from medseg.data.augmentation import Augmentation
from medseg.task import Data, Training
from medseg.tasks.stas.check import inspect
from medseg.tasks.stas.networks import NETWORKS
from medseg.tasks.stas.phantom import phantom
from medseg.tasks.stas.reader import cases, patients, read, samples, split

_CHANGES = Augmentation(quarter_turns=0.3)  # the same as in the reference project

DATA = Data(
    patients=patients,
    read=read,
    cases=cases,
    check=inspect,
    phantom=phantom,
    split=split,
    training={network.name: Training(samples, _CHANGES) for network in NETWORKS},
)
