"""What became of damaged input, in one word, counted over many. One code counts every format, here and served."""

import re
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import MedsegError

SECONDS = 30
FINE = ("clear", "right", "altered")
BAD = ("traceback", "hang", "crash", "silent")
_DUE = ("expected", "expects", "again", "export", "resample", "correct", "convert")  # one of these says what to do
_PRIVATE = ("Doe", "Jane", "4711", "19010203", "1.2.826")  # of the patients that tests make up
_REQUEST = re.compile(r"medseg-[0-9a-f]{32}")

Outcome = tuple[str, str]  # the word, with what went wrong behind a colon; and what it came of


@dataclass(frozen=True)
class Campaign:
    """One kind of input, and what is done to it."""

    outcomes: Callable[[int, Path, int], Iterable[Outcome]]  # how many, an empty folder, a seed
    clear: float  # the least share that is refused: else the damage is none
    share: float = 1.0  # of the cases that others get: where each takes long


class CrashError(Exception):
    """The process that read it ended."""


class SilentError(Exception):
    """Two readers read something else, and neither said so."""


def outcome(read: Callable[[], Any], same: Callable[[Any], bool], altered: bool | Callable[[Any], bool]) -> str:
    """clear: one sentence; right: what the whole input gives; altered: something else, of which nothing could tell.

    Else it is silent, a traceback, a hang or a crash. `altered` is whether something else may come.
    """
    try:
        with _limited():
            found = read()
            if same(found):
                return "right"
            return "altered" if (altered(found) if callable(altered) else altered) else "silent"
    except MedsegError as error:
        return "clear" if _is_clear(str(error)) else f"traceback: badly worded: {error}"
    except TimeoutError:
        return "hang"
    except CrashError as error:
        return f"crash: {error}"
    except SilentError as error:
        return f"silent: {error}"
    except Exception as error:
        return f"traceback: {error!r}"


def _is_clear(sentence: str) -> bool:
    sentence = _REQUEST.sub("", sentence)  # its digits are random
    odd = "\n" in sentence or "object at 0x" in sentence or "internal error" in sentence or len(sentence) > 1000
    return not odd and any(word in sentence for word in _DUE) and not any(word in sentence for word in _PRIVATE)


def tally(outcomes: Iterable[Outcome]) -> tuple[Counter[str], list[str]]:
    """How often each word came, and what must not be, each with what it came of."""
    found = [(*word.partition(":")[::2], of) for word, of in outcomes]
    return Counter(word for word, _, _ in found), [f"{of}: {word}:{why}" for word, why, of in found if word in BAD]


@contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
