"""Batches in flight: while a network works on one batch the next is being cut out, so neither waits for the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

from medseg.task import Array, Infer, Networks

IN_FLIGHT = 4  # enough to keep two cores busy while the next batch is made; each batch holds at most 8 MB


def answers(infer: Infer, batches: Iterable[Array], at_once: int = IN_FLIGHT) -> Iterator[Array]:
    """`infer` of every batch, in order; at most `at_once` batches exist at a time.

    After an error, or where the rest is not wanted, what waits is dropped; only the batches being computed are awaited.
    """
    waiting: deque[Future[Array]] = deque()
    pool = ThreadPoolExecutor(at_once)
    try:
        for batch in batches:
            if len(waiting) == at_once:
                yield waiting.popleft().result()
            waiting.append(pool.submit(infer, batch))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def cancellable(networks: Networks, cancelled: Callable[[], bool]) -> Networks:
    """The networks; once `cancelled` says so they raise CancelledError instead of computing the next tile or crop."""

    def find(name: str) -> Infer:
        infer = networks(name)

        def ask(batch: Array) -> Array:
            if cancelled():
                raise CancelledError
            return infer(batch)

        return ask

    return find
