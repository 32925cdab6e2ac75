"""nnU-Net's raw dataset as the task's data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from medseg.data.augmentation import Augmentation
from medseg.description import Description
from medseg.errors import InputError
from medseg.task import Data, Training
from medseg.tasks.volume.calibration import tiles
from medseg.tasks.volume.networks import NAME
from medseg.tasks.volume.phantom import phantom
from medseg.tasks.volume.pipeline import Stage
from medseg.tasks.volume.reader import cases, inspect, patients, read, split


def data_of(description: Description | None, stages: Sequence[Stage] = (), lacking: str = "") -> Data:
    """The folder as a description has it; without one it can be checked and made up.

    `stages` are the networks whose tiles it has; `lacking` is the earlier stage without which none can be asked.
    """
    return Data(
        patients=patients,
        read=partial(read, description),
        cases=partial(cases, description, lacking),
        check=partial(inspect, description),
        phantom=partial(phantom, description),
        split=split,
        training={
            stage.network.name: Training(
                _untrained, Augmentation(), resizable=False, calibration=partial(tiles, description, stage.plan)
            )
            for stage in stages
            if description
        },
    )


def _untrained(_: Path, __: Sequence[str]) -> NoReturn:
    raise InputError(f"task {NAME!r} has no training; expected a trained model: use `medseg import`")
