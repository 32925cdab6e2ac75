"""Batches in flight: their order, and what becomes of them when one fails or nobody waits any more."""

from concurrent.futures import CancelledError
from itertools import count
from threading import Lock

import numpy as np
import pytest

from medseg.task import Array, Infer, Networks
from medseg.tasks.streaming import IN_FLIGHT, answers, cancellable


def _batches() -> list[Array]:
    return [np.full(1, number) for number in range(40)]


def test_answers_come_in_order() -> None:
    assert [int(answer[0]) for answer in answers(lambda batch: batch * 2, _batches())] == list(range(0, 80, 2))


def test_an_error_drops_the_batches_behind_it() -> None:
    asked, lock = [], Lock()

    def infer(batch: Array) -> Array:
        with lock:
            asked.append(int(batch[0]))
        if batch[0] == 5:
            raise ValueError("the sixth")
        return batch

    with pytest.raises(ValueError, match="the sixth"):
        list(answers(infer, _batches()))
    assert max(asked) <= 5 + IN_FLIGHT


def test_what_is_not_computed_yet_is_dropped_where_nobody_reads_on() -> None:
    asked = []

    def infer(batch: Array) -> Array:
        asked.append(int(batch[0]))
        return batch

    stream = answers(infer, _batches())
    next(stream)
    stream.close()
    assert max(asked) <= IN_FLIGHT


@pytest.mark.parametrize("calls", [0, 1, 7])
def test_cancelled_networks_compute_no_further_batch(calls: int) -> None:
    """The caller changes its mind after so many batches: no other is computed, whichever thread would have."""
    computed, asked, lock = [], count(), Lock()

    def infer(batch: Array) -> Array:
        with lock:
            computed.append(int(batch[0]))
        return batch

    def cancelled() -> bool:
        with lock:
            return next(asked) >= calls

    networks: Networks = cancellable(lambda name: infer, cancelled)
    with pytest.raises(CancelledError):
        list(answers(networks("luna-segment"), _batches()))
    assert len(computed) == calls


def test_cancellable_networks_are_still_unknown_where_they_were() -> None:
    def find(name: str) -> Infer:
        raise KeyError(name)

    with pytest.raises(KeyError):
        cancellable(find, lambda: False)("luna-malignancy")
