"""Pictures of any kind, by a network that was trained here or imported; a description says how to use it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from medseg.bringing import Bringing, Brought, NetworkOptions
from medseg.errors import RunError
from medseg.task import Files, Pipeline, Task
from medseg.tasks.picture.choose import begun
from medseg.tasks.picture.data import data_of
from medseg.tasks.picture.description import picture_of
from medseg.tasks.picture.files import answered, sources, write
from medseg.tasks.picture.kinds import kind_of
from medseg.tasks.picture.networks import NAME
from medseg.tasks.picture.pipeline import decode_of, pipeline
from medseg.tasks.picture.score import scoring

_TITLE = "pictures, by a network of your own"
_MEASURED = ("mask",)
_EXPECTS = "pictures: JPEG, PNG or TIFF, grey or RGB, of 8 or 16 bits; which of these, a run's description says"


def described(texts: Sequence[str]) -> Task:
    """The task of the one description. Raises RunError for several, or for one that is not valid for pictures."""
    if len(texts) != 1:
        raise RunError(
            f"{NAME} got {len(texts)} runs; expected one, because each describes its own network: give one --run"
        )
    picture = picture_of(texts[0])
    whole = pipeline(picture, texts[0])
    return Task(
        NAME,
        picture.shared.title or _TITLE,
        whole.networks,
        whole,
        Files(
            sources,
            partial(write, picture),
            partial(answered, picture),
            expects=kind_of(picture).words,
            measured=_MEASURED,
        ),
        data=data_of(picture),
        scoring=scoring(picture),
        decoding={"decode": decode_of(picture)},
        descriptions=tuple(texts),
    )


def _imported(path: Path, choices: NetworkOptions) -> Brought:
    """Import a network, see importing.py. That is imported here because it needs PyTorch."""
    from medseg.tasks.picture.importing import imported

    return imported(path, choices)


TASK = Task(
    NAME,
    _TITLE,
    (),
    Pipeline((), (), (), ()),
    Files(sources, partial(write, None), partial(answered, None), expects=_EXPECTS),
    data=data_of(None),
    scoring=scoring(None),
    described=described,
    bringing=Bringing(begun, _imported),
)
