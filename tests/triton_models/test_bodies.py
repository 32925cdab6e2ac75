"""A request's body is read once and sent as often as it must be, where there is room to keep it."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from medseg.triton_models.front.bodies import Body, Room

SENT = bytes(range(256)) * (3 << 13)  # six pieces


class Target:
    """What a StreamWriter is to a body: slow."""

    def __init__(self) -> None:
        self.got = b""

    def write(self, piece: bytes) -> None:
        self.got += piece

    async def drain(self) -> None:
        await asyncio.sleep(0)


def _run(length: int, room: int, what: Callable[[Body], Awaitable[None]], sent: bytes = SENT) -> None:
    async def all_of_it() -> None:
        reader = asyncio.StreamReader(1 << 20)
        reader.feed_data(sent)
        reader.feed_eof()
        with Room(room).body(reader, length) as body:
            await what(body)

    asyncio.run(all_of_it())


def test_a_body_that_is_kept_goes_whole_to_several_at_a_time() -> None:
    targets = [Target(), Target()]

    async def both(body: Body) -> None:
        await asyncio.gather(*(body.send(target) for target in targets))
        assert body.unread == 0 and not body.is_spent()

    _run(len(SENT), len(SENT), both)
    assert [target.got for target in targets] == [SENT, SENT]


def test_a_body_without_room_is_sent_once_and_known_to_be_spent() -> None:
    target = Target()

    async def once(body: Body) -> None:
        assert not body.is_spent()
        await body.send(target)
        assert body.is_spent()

    _run(len(SENT), len(SENT) - 1, once)
    assert target.got == SENT


def test_a_body_that_ends_early_is_an_error() -> None:
    async def once(body: Body) -> None:
        with pytest.raises(asyncio.IncompleteReadError):
            await body.send(Target())

    _run(len(SENT) + 1, 1 << 30, once)


def test_room_is_given_back() -> None:
    room = Room(10)
    for _ in range(3):
        with room.body(None, 8) as first, room.body(None, 8) as second, room.body(None, 2) as third:
            kept = [body._kept for body in (first, second, third)]
        assert kept == [True, False, True]
