"""A request asked again when a model is replaced: the first good answer counts, nobody waits for the dead."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("h11")
from medseg.triton_models.front import passing
from medseg.triton_models.front.again import Left, Replaced, Twice


def _asked(*answers: object) -> tuple[object, int]:
    """What comes of a request of which each asking ends like this: a value, an error, or never (None)."""
    left, replaced = list(answers), Replaced()
    cancelled = 0

    async def ask() -> object:
        nonlocal cancelled
        answer = left.pop(0)
        try:
            await (asyncio.sleep(0.01) if answer is not None else asyncio.Event().wait())
        except asyncio.CancelledError:
            cancelled += 1
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def all_of_it() -> object:
        loop = asyncio.get_running_loop()
        for _ in range(len(answers) - 1):  # later than an answer, where that says that its process died
            loop.call_later(0.05 if "died" in str(answers[0]) else 0, replaced.tell)
        return await Twice(ask, lambda found: found in ("failed", "died"), lambda end: "died" in str(end)).answer(
            replaced
        )

    return asyncio.run(all_of_it()), cancelled


@pytest.mark.parametrize(
    ("answers", "found", "cancelled"),
    [
        (("right",), "right", 0),
        (("failed",), "failed", 0),
        ((None, "right"), "right", 1),
        (("failed", "right"), "right", 0),
        ((ValueError("dead"), "right"), "right", 0),
        (("right", None), "right", 1),
        (("died", "right"), "right", 0),
        ((ValueError("died"), "right"), "right", 0),
        (("died", "failed"), "failed", 0),
    ],
)
def test_the_first_good_answer_counts(answers: tuple[object, ...], found: object, cancelled: int) -> None:
    assert _asked(*answers) == (found, cancelled)


def test_where_both_fail_the_last_failure_is_told() -> None:
    with pytest.raises(ValueError, match="dead"):
        _asked(ValueError("dead"), ValueError("dead"))


def test_what_is_asked_when_its_client_goes_away_is_left_to_its_end_and_then_forgotten(tmp_path: Path) -> None:
    dropped: list[str] = []
    ended = asyncio.Event()

    async def ask() -> str:
        await ended.wait()
        return "late"

    async def all_of_it() -> list[list[str]]:
        left = Left[str](tmp_path, dropped.append)
        waiting = asyncio.ensure_future(
            Twice(ask, lambda _: False, lambda _: False, partial(left, "medseg-1")).answer(Replaced())
        )
        await asyncio.sleep(0.01)
        waiting.cancel()
        seen = []
        for _ in range(2):
            await asyncio.sleep(0.01)
            seen.append([path.name for path in tmp_path.iterdir()] + dropped)
            ended.set()
        return seen

    assert asyncio.run(all_of_it()) == [["medseg-1"], ["late"]]


class _Body:
    """Of a request."""


async def _ask_twice(ask: Callable) -> str:
    return await Twice[str](ask, lambda _: False, lambda _: False).answer(Replaced())


async def _await(ask: Callable) -> str:
    return await passing._awaited(ask(), cast(Any, None))


@pytest.mark.parametrize("way", [_ask_twice, _await])
@pytest.mark.parametrize("refused", [True, False])
def test_nothing_is_kept_of_a_request_that_ended(way: Callable[[Callable], Awaitable[str]], refused: bool) -> None:
    bodies = []

    async def ask() -> str:
        body = _Body()
        bodies.append(weakref.ref(body))
        await asyncio.sleep(0)
        if refused:
            raise ValueError("refused")
        return "answer"

    async def all_of_it() -> list[object]:
        with suppress(ValueError):
            assert await way(ask) == "answer"
        await asyncio.sleep(0.01)
        return [body() for body in bodies]

    gc.collect()
    gc.disable()  # what is kept in a cycle is kept for long
    try:
        assert asyncio.run(all_of_it()) == [None]
    finally:
        gc.enable()
