"""A server's clients, one for each thread that asks: Triton's HTTP client must not be shared between threads."""

from __future__ import annotations

from collections.abc import Callable
from threading import local
from typing import TYPE_CHECKING, Self, cast

if TYPE_CHECKING:
    from medseg.engines.triton import TritonModel


class Clients:
    """A client for each thread, opened when the thread first asks; all are closed together.

    The first one is opened at once, so that a bad address is reported before any work.
    """

    def __init__(self, opened: Callable[[], TritonModel]) -> None:
        self._opened, self._own = opened, local()
        self._all: list[TritonModel] = []
        self.mine()

    def mine(self) -> TritonModel:
        """This thread's client."""
        if not hasattr(self._own, "client"):
            self._own.client = self._opened()
            self._all.append(self._own.client)
        return cast("TritonModel", self._own.client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every thread's client."""
        for one in self._all:
            one.close()
