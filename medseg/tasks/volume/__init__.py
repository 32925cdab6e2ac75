"""Volumes of any kind, by a user's own network, as its description says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from medseg.bringing import Bringing, Brought, NetworkOptions
from medseg.description import DESCRIPTION, Description
from medseg.errors import InputError, RunError
from medseg.task import Files, Option, Pipeline, Reading, Source, Task
from medseg.tasks.volume.cases import sources
from medseg.tasks.volume.data import data_of
from medseg.tasks.volume.files import answered, write
from medseg.tasks.volume.networks import NAME, network
from medseg.tasks.volume.pipeline import Stage, pipeline
from medseg.tasks.volume.plan import Plan, described_plan
from medseg.tasks.volume.score import scoring

_TITLE = "volumes, by a network of your own"
_EXPECTS = (
    "a volume in the unit on which the network was trained, one file per channel, in any orientation that its file "
    "states: it is reoriented as the description says"
)
_READING = ("spacing_mm", "skip_damaged")
_OPTIONS = (
    Option(
        "mirror",
        "average over mirrored tiles too, at several times the cost; by default as the network was trained",
        "fitted",
        ("fitted", "no", "yes"),
        switch=True,
    ),
)


def described(texts: Sequence[str]) -> Task:
    """The task of one description, or of a cascade's two in any order.

    Raises RunError for others, or for what does not describe a volume.
    """
    read = [(described_plan(_document(text), DESCRIPTION), text) for text in texts]
    ordered = sorted(read, key=lambda one: bool(one[0][1].previous))
    _check_chain([found for found, _ in ordered])
    stages = [Stage(plan, network(description, plan, text)) for (description, plan), text in ordered]
    (description, plan), _ = ordered[-1]
    whole = pipeline(stages)
    lacking = plan.previous if len(texts) == 1 else ""
    return Task(
        NAME,
        description.title or _TITLE,
        whole.networks,
        whole,
        Files(
            partial(_sources, description, lacking),
            partial(write, description),
            answered,
            volumes=True,
            reading=_READING,
            measured=("mask",),
            expects=_EXPECTS,
        ),
        options=_OPTIONS,
        data=data_of(description, stages, lacking),
        scoring=scoring(description),
        descriptions=tuple(text for _, text in ordered),
    )


def _check_chain(found: Sequence[tuple[Description, Plan]]) -> None:
    """Raise RunError where the descriptions are no network and no cascade's two."""
    if len(found) == 1:
        return
    names = ", ".join(description.own.get("configuration", "a network") for description, _ in found)
    if len(found) != 2 or not found[1][1].previous or found[0][1].previous:
        raise RunError(
            f"{NAME} got {len(found)} runs ({names}); expected one, or a cascade's two: one that takes the image alone "
            "and one that refines its answer"
        )
    first, wanted = found[0][0].own.get("configuration", ""), found[1][1].previous
    if first != wanted:
        raise RunError(f"the cascade refines the answer of {wanted}, and the other run holds {first}: give its run")


def _document(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{DESCRIPTION} is not valid JSON; expected a description: import again") from error


def _sources(description: Description, lacking: str, path: Path, reading: Reading) -> list[Source]:
    if lacking:
        raise InputError(f"the network refines the answer of {lacking}; expected its run too: add it with --run")
    return sources([channel.name for channel in description.channels], path, reading)


def _undescribed(path: Path, _: Reading) -> list[Source]:
    raise InputError(f"{path}: the task {NAME!r} needs a run that describes its network: give one with --run")


def _unwritten(*_: object) -> list[Path]:
    raise RunError(f"the task {NAME!r} needs a run that describes its network: give one with --run")


def _begun(*_: object) -> str:
    raise InputError(f"task {NAME!r} has no training; expected a trained model: use `medseg import`")


def _unnamed(path: Path, _: NetworkOptions) -> Brought:
    raise InputError(f"{path}: a volume's network must be imported; expected `medseg import nnunet` or `monai`")


def _nnunet(path: Path, choices: NetworkOptions) -> Brought:
    from medseg.tasks.volume.nnunet.importing import imported

    return imported(path, choices)


def _monai(path: Path, choices: NetworkOptions) -> Brought:
    from medseg.tasks.volume.monai.importing import imported

    return imported(path, choices)


TASK = Task(
    NAME,
    _TITLE,
    (),
    Pipeline((), (), (), ()),
    Files(_undescribed, _unwritten, answered, volumes=True, reading=_READING, measured=("mask",), expects=_EXPECTS),
    options=_OPTIONS,
    data=data_of(None),
    scoring=scoring(None),
    described=described,
    bringing=Bringing(_begun, _unnamed, {"nnunet": _nnunet, "monai": _monai}),
)
