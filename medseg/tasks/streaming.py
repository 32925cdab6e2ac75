"""Batches in flight: while a network works on one batch the next is being cut out, so neither waits for the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from medseg.task import Array, Infer

IN_FLIGHT = 4  # enough to keep two cores busy while the next batch is made; each batch holds at most 8 MB


def answers(infer: Infer, batches: Iterable[Array]) -> Iterator[Array]:
    """`infer` of every batch, in order; at most IN_FLIGHT batches exist at a time."""
    waiting: deque[Future[Array]] = deque()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for batch in batches:
            if len(waiting) == IN_FLIGHT:
                yield waiting.popleft().result()
            waiting.append(pool.submit(infer, batch))
        while waiting:
            yield waiting.popleft().result()
