"""Requests asked again: who waited at a process that died is answered by the one that took its place.

Triton fails what waits at a dead process one after the other, a second each. An inference changes nothing, so once the
model is back, what was in flight is asked a second time, and the first good answer counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Generic, TypeVar

from medseg.triton_models.cancelled import mark
from medseg.triton_models.front.doors import Doors

_LONGEST_SECONDS = 3600
Answer = TypeVar("Answer")


class Replaced:
    """Tells everybody who waits that a model was replaced."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """A model was replaced just now."""
        self._event.set()
        self._event = asyncio.Event()

    async def __call__(self) -> None:
        """Wait until then."""
        await self._event.wait()


def leave(doors: Doors, request: str) -> None:
    """Tell the steps that nobody waits for this request any more, for as long as one may be computed."""
    if request:
        path = mark(Path(doors.sockets), request)
        asyncio.get_running_loop().call_later(_LONGEST_SECONDS, lambda: path.unlink(missing_ok=True))


class Twice(Generic[Answer]):
    """One request, asked again when a model is replaced while it waits."""

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, Answer]], failed: Callable[[Answer], bool]) -> None:
        self._ask, self._failed = ask, failed

    async def answer(self, replaced: Replaced) -> Answer:
        """The first answer that is no failure, else the last failure. Raises what the last asking raises."""
        asked = {asyncio.ensure_future(self._ask())}
        signal = asyncio.ensure_future(replaced())
        try:
            while True:
                done, _ = await asyncio.wait({*asked, signal}, return_when=asyncio.FIRST_COMPLETED)
                if signal in done:
                    signal = asyncio.ensure_future(replaced())
                    if len(asked) < 2:
                        asked.add(asyncio.ensure_future(self._ask()))
                for one in [each for each in asked if each.done()]:
                    if len(asked) == 1 or not (one.exception() or self._failed(one.result())):
                        return one.result()
                    asked.discard(one)
        finally:
            for left in (*asked, signal):
                left.cancel()
