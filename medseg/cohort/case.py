"""The records of a cohort: an item to be answered, how all items are answered, and the outcome of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from medseg.task import Reading

DONE, FAILED, SKIPPED = "done", "failed", "skipped"  # a case's status in the ledger

# Why a worker has no answer to a case.
REFUSED = "refused"  # it cannot be answered, here or elsewhere
BROKEN = "broken"  # it failed here: another try may help
SUSPECT = "suspect"  # its worker died with several cases: this one is tried again, alone
INNOCENT = "innocent"  # the cause was another case, or a server that went away


@dataclass(frozen=True)
class Item:
    """One case: its name, its file, folder or URL, and which source in it is meant."""

    name: str
    input: str
    own: str = ""  # the source's own name in the input; "": its only source
    error: str = ""  # why it cannot be answered, if that is known already
    skipped: str = ""  # why it is skipped
    alone: bool = False  # whether its worker may have no other case meanwhile


@dataclass(frozen=True)
class Work:
    """How every case is answered: all that a worker must know, small enough to be sent to it."""

    task: str
    scratch: str  # the folder to which answers are written first
    runs: tuple[str, ...] = ()
    url: str | None = None
    engine: str = "openvino"
    precision: str = "fp32"
    options: Mapping[str, float | str] = field(default_factory=dict)
    extras: tuple[str, ...] = ()
    reading: Reading = field(default_factory=Reading)
    concurrency: int | None = None  # cases at inference at a time; None: see `worker.concurrency`
    verify: bool = True  # whether the runs' files are compared with their recorded sha256
    fast: bool = False  # whether inputs are identified only by size and time, without sha256
    arrays: bool = True  # whether the arrays that scores need are kept beside each answer
    upload: str | None = None  # the URL to which answers are sent, if --out is an address
    environment: Mapping[str, str] = field(default_factory=dict)  # variables of the worker's process
    cores: tuple[int, ...] = ()  # the cores that the worker uses; empty: all
    opener: str = "medseg.api.predictor:open_predictor"  # module:function that opens the predictor
    expected: Mapping[str, object] | None = None  # what every worker's predictor must say about itself


@dataclass(frozen=True)
class Answered:
    """A case's answer: its folder and files, facts about its input, and how long each stage took."""

    folder: str  # its name in the scratch folder; "" if it was sent to a URL
    files: Mapping[str, str]  # name -> sha256
    read: Mapping[str, object]  # the input's bytes, mtime and sha256
    seconds: Mapping[str, float]  # by stage
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """The outcome of a case that was sent to a worker: its answer, or one of the faults above with a sentence."""

    item: Item
    worker: str
    answer: Answered | None = None
    fault: str = ""
    error: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)


class Pool(Protocol):
    """Workers, on this machine or elsewhere."""

    def take(self, item: Item, avoid: str = "") -> bool:
        """Send a case to a worker, if possible not to `avoid`; False if all workers are busy."""
        ...

    def receive(self, seconds: float) -> list[Outcome]:
        """Outcomes since the last call; waits this long for the first. Raises MedsegError if no worker can work."""
        ...

    def close(self) -> None:
        """End the workers; unfinished cases are dropped."""
        ...
