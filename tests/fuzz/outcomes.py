"""What became of damaged input, in one word, counted over many."""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from medseg.errors import InputError

SECONDS = 30
BAD = ("silent", "traceback", "hang", "badly worded")
COUNTS = [50, pytest.param(500, marks=pytest.mark.long)]


def outcome(read: Callable[[], Any], same: Callable[[Any], bool], altered: bool) -> str:
    """clear: one sentence; right: what the whole file gives; altered: something else, of which nothing could tell.

    Else it is silent, a traceback, a hang or badly worded. `altered` is whether something else may come.
    """
    try:
        with _limited():
            found = read()
    except InputError as error:
        sentence = str(error)
        fine = "\n" not in sentence and "object at 0x" not in sentence and len(sentence) < 1000
        return "clear" if fine else f"badly worded: {sentence}"
    except TimeoutError:
        return "hang"
    except Exception as error:
        return f"traceback: {error!r}"
    if same(found):
        return "right"
    return "altered" if altered else "silent"


def counted(outcomes: Iterator[tuple[str, str]]) -> Counter[str]:
    """How often each outcome came. Fails naming what must not be, with what it came of."""
    found = list(outcomes)
    assert [one for one in found if one[0].startswith(BAD)] == []
    return Counter(word for word, _ in found)


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
