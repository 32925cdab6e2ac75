"""Requests sent again: requests that waited at a process that died are answered by its replacement.

Triton fails what waits at a dead process one after the other, a second each. An inference changes nothing, so once the
model is back, what was in flight is asked a second time, and the first good answer counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, Generic, TypeVar

from medseg.triton_models.cancelled import mark

_LONGEST_SECONDS = 3600
_BACK_SECONDS = 30  # that a request whose process died waits for the replacement
Answer = TypeVar("Answer")


class Replaced:
    """Tells all waiting requests that a model was replaced."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """A model was replaced just now."""
        self._event.set()
        self._event = asyncio.Event()

    async def __call__(self) -> None:
        """Wait until then."""
        await self._event.wait()


class Left(Generic[Answer]):
    """Requests whose clients went away: the steps are told, until Triton has ended the request.

    It is awaited for that, and nothing is kept of it afterwards.
    """

    def __init__(self, folder: Path, drop: Callable[[Answer], None] = lambda _: None) -> None:
        self._folder, self._drop = folder, drop
        self._ending: set[asyncio.Future[None]] = set()  # the event loop alone would forget them

    def __call__(self, request: str, asked: Iterable[asyncio.Future[Answer]]) -> None:
        """Mark a request, which is being answered, as cancelled."""
        one = asyncio.ensure_future(self._end(mark(self._folder, request), list(asked)))
        self._ending.add(one)
        one.add_done_callback(self._ending.discard)

    async def _end(self, path: Path, asked: list[asyncio.Future[Answer]]) -> None:
        try:
            for answer in await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), _LONGEST_SECONDS):
                if not isinstance(answer, BaseException):
                    self._drop(answer)
        finally:
            path.unlink(missing_ok=True)


class Twice(Generic[Answer]):
    """One request, asked again when a model is replaced while it waits, or when its process died and was replaced.

    `died` says that of an answer or an error; `failed` says whether an answer is none. `left` takes what is still being
    asked when its client goes away; without it that is cancelled.
    """

    def __init__(
        self,
        ask: Callable[[], Coroutine[Any, Any, Answer]],
        failed: Callable[[Answer], bool],
        died: Callable[[Answer | BaseException], bool],
        left: Callable[[Iterable[asyncio.Future[Answer]]], None] | None = None,
    ) -> None:
        self._ask, self._failed, self._died, self._left = ask, failed, died, left

    async def answer(self, replaced: Replaced) -> Answer:
        """The first answer that is no failure, else the last failure. Raises what the last asking raises."""
        first, signal = asyncio.ensure_future(self._ask()), asyncio.ensure_future(replaced())
        asked: set[asyncio.Future[Answer]] = {first}
        either: set[asyncio.Future[Any]] = {first, signal}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not signal.done() and self._died(first.exception() or first.result()):
                await asyncio.wait([signal], timeout=_BACK_SECONDS)
            if signal.done():
                asked.add(asyncio.ensure_future(self._ask()))
            return (await self._first(asked)).result()
        except asyncio.CancelledError:
            if self._left:
                self._left(asked)
                asked = set()
            raise
        finally:
            signal.cancel()
            while asked:
                asked.pop().cancel()
            del first, either  # an error holds this frame, which must not hold it: the request's body is in it

    async def _first(self, asked: set[asyncio.Future[Answer]]) -> asyncio.Future[Answer]:
        """The first of these that is no failure, else the last one."""
        while True:
            done, rest = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            good = [one for one in done if not (one.exception() or self._failed(one.result()))]
            if good or not rest:
                return (good or list(done))[0]
            asked -= done
