"""The records of a cohort: an item to ask about, how all are asked, and what became of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from medseg.task import Reading

DONE, FAILED, SKIPPED = "done", "failed", "skipped"  # what the ledger says of a case

# What a worker says of a case that has no answer.
REFUSED = "refused"  # it cannot be answered, here or elsewhere
BROKEN = "broken"  # it went wrong here: another try may help
SUSPECT = "suspect"  # its worker died with several cases at hand: this one is tried again, alone
INNOCENT = "innocent"  # it was not its fault: another case's, or a server's that went away


@dataclass(frozen=True)
class Item:
    """Something to ask about: the case's name, the file, folder or URL, and which of those that lie in it."""

    name: str
    input: str
    own: str = ""  # the source's own name in the input; "": the only one there is
    error: str = ""  # why it cannot be asked, where that is known already
    skipped: str = ""  # why it is not asked
    alone: bool = False  # whether its worker may have nothing else at hand


@dataclass(frozen=True)
class Work:
    """How every case is asked, and what for: all that a worker must know, small enough to be sent anywhere."""

    task: str
    scratch: str  # the folder that answers are written to before they have their place
    runs: tuple[str, ...] = ()
    url: str | None = None
    engine: str = "openvino"
    precision: str = "fp32"
    options: Mapping[str, float | str] = field(default_factory=dict)
    extras: tuple[str, ...] = ()
    reading: Reading = field(default_factory=Reading)
    concurrency: int | None = None  # cases at inference at a time; None: as many as there are cores of pictures
    verify: bool = True  # whether the runs' files are held against their recorded sha256
    fast: bool = False  # whether inputs are known by size and time alone
    arrays: bool = True  # whether what scores are made of is kept beside each answer
    upload: str | None = None  # the URL that answers go to, where that is no folder here
    environment: Mapping[str, str] = field(default_factory=dict)  # variables of the worker's process
    cores: tuple[int, ...] = ()  # those the worker runs on; empty: all
    opener: str = "medseg.api.predictor:open_predictor"  # module:function that opens what answers
    expected: Mapping[str, object] | None = None  # what every worker's answers must be made by


@dataclass(frozen=True)
class Answered:
    """A case's answer: where it was written, its files, what it was read from, and how long each stage took."""

    folder: str  # below the scratch folder, or the URL that it was sent to
    files: Mapping[str, str]  # name -> sha256
    read: Mapping[str, object]  # of the input: bytes, mtime and sha256
    seconds: Mapping[str, float]  # by stage
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a case that was sent to a worker: its answer, or one of the words above with a sentence."""

    item: Item
    worker: str
    answer: Answered | None = None
    fault: str = ""
    error: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)


class Pool(Protocol):
    """Workers, wherever they are."""

    def take(self, item: Item, avoid: str = "") -> bool:
        """Send a case to a worker, to another than `avoid` where there is one; False where all are busy."""
        ...

    def receive(self, seconds: float) -> list[Outcome]:
        """What became of cases since the last call; waits so long for the first. Raises MedsegError if none can be."""
        ...

    def close(self) -> None:
        """End the workers; what is not done is dropped."""
        ...
