"""A request asked again when a model is replaced: the first good answer counts, nobody waits for the dead."""

import asyncio

import pytest

pytest.importorskip("h11")
from medseg.triton_models.front.again import Replaced, Twice


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
        for _ in range(len(answers) - 1):
            loop.call_soon(lambda: loop.call_soon(replaced.tell))
        return await Twice(ask, lambda found: found == "failed").answer(replaced)

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
    ],
)
def test_the_first_good_answer_counts(answers: tuple[object, ...], found: object, cancelled: int) -> None:
    assert _asked(*answers) == (found, cancelled)


def test_where_both_fail_the_last_failure_is_told() -> None:
    with pytest.raises(ValueError, match="dead"):
        _asked(ValueError("dead"), ValueError("dead"))
