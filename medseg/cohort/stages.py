"""The three stages of a case in its worker: read, infer, write; and the outcome afterwards."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from medseg.api.predictor import Predictor
from medseg.cohort.case import BROKEN, INNOCENT, REFUSED, Answered, Item, Outcome, Work
from medseg.cohort.remote import fetched, is_remote
from medseg.cohort.sources import Lister, facts, lister, source_of
from medseg.cohort.writing import written
from medseg.errors import InputError, MedsegError, ServerError
from medseg.scratch import Scratch
from medseg.task import Request, Tensors

READ, INFER, WRITE = "read", "infer", "write"


@dataclass
class Asked:
    """A case while it goes through the stages."""

    item: Item
    seconds: dict[str, float] = field(default_factory=dict)  # time of each stage
    notes: list[str] = field(default_factory=list)
    read: dict[str, Any] = field(default_factory=dict)  # facts about the input
    fetched: Scratch | None = None  # the local copy of a remote input


@dataclass
class Stages:
    """The stages, for any number of cases at a time."""

    work: Work
    predictor: Predictor

    @cached_property
    def _listed(self) -> Lister:
        return lister(self.predictor.task, self.work.reading)

    def of(self, stage: str, asked: Asked) -> Callable[[Any], Any]:
        """The stage of this name for a case, as a function from the previous stage's result to its own."""
        stages: dict[str, Callable[[Any], Any]] = {
            READ: lambda _: self.read(asked),
            INFER: self.infer,
            WRITE: lambda found: written(self.predictor.task, self.work, *found),
        }
        return stages[stage]

    def read(self, asked: Asked) -> Request:
        """The case's request."""
        path = self._path(asked)
        asked.read = facts(path, self.work.fast)
        request = source_of(self._listed, asked.item, path).load()
        asked.notes += request.notes
        about = dict(self.predictor.made_by) | {"options": dict(self.work.options)}
        name, extras = asked.item.name, self.work.extras
        return replace(request, name=name, made_by=about, extras=extras, tell=asked.notes.append)

    def _path(self, asked: Asked) -> Path:
        """The input's local path; a remote input is downloaded first."""
        if not is_remote(asked.item.input):
            return Path(asked.item.input)
        asked.fetched = Scratch("fetched")
        return fetched(asked.item.input, Path(asked.fetched.name))

    def infer(self, request: Request) -> tuple[Request, Tensors]:
        """The request with its answer."""
        known = self.predictor.task.optional_tensors(self.work.options)
        return request, self.predictor.ask(dict(request.tensors) | known)

    def done(self, asked: Asked, found: tuple[str, dict[str, str]]) -> Outcome:
        """The outcome of an answered case."""
        self._drop(asked)
        return Outcome(asked.item, here(), Answered(*found, asked.read, dict(asked.seconds), tuple(asked.notes)))

    def failed(self, asked: Asked, error: BaseException) -> Outcome:
        """The outcome of a failed case: the file is at fault, or a server, or something else."""
        self._drop(asked)
        fault = REFUSED if isinstance(error, InputError) else BROKEN
        if isinstance(error, ServerError) and self.work.url and not _answers(self.work.url, self.predictor):
            fault = INNOCENT
        words = str(error) if isinstance(error, MedsegError) else f"{type(error).__name__}: {error}"
        return Outcome(asked.item, here(), None, fault, " ".join(words.split()), dict(asked.seconds))

    def _drop(self, asked: Asked) -> None:
        if asked.fetched is not None:
            asked.fetched.cleanup()


def _answers(url: str, predictor: Predictor) -> bool:
    """Whether the server, which failed a case, responds at all."""
    from medseg.engines.triton import TritonModel

    model = TritonModel(url, predictor.task.name, timeout_s=10.0)
    try:
        model.parameters()
    except ServerError:
        return False
    finally:
        model.close()
    return True


def here() -> str:
    """This process's name as a worker in the ledger."""
    return f"{socket.gethostname()}:{os.getpid()}"
