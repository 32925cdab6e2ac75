from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from threading import Event

import pytest

from medseg.bench.measure.load import TIMEOUT, Crew, Plan, Timing, Window, agree, ask_within, closed_loop, open_loop
from medseg.errors import ServerError
from tests.bench.servers import busy, question, target

SHORT = Plan(warmup=0, rounds=1, window_s=0.3, limit_s=2.0)
IMPATIENT = replace(SHORT, timeout_s=1.0)  # only for servers that never answer: a busy machine takes its time


def _most_at_once(timings: Sequence[Timing]) -> int:
    """How many requests were in flight at most; of two moments that are the same an answer comes first."""
    moments = sorted([(one.sent_s, 1) for one in timings] + [(one.done_s, -1) for one in timings])
    return max(accumulate(change for _, change in moments))


@pytest.mark.parametrize("askers", [1, 4])
def test_a_level_keeps_as_many_questions_in_flight_as_it_has_askers(askers: int):
    level = closed_loop(Crew(), target(busy(0.02)), [question()], askers, SHORT)
    assert _most_at_once(level.timings) == askers
    assert level.load == askers and not any(timing.error for timing in level.timings)


def _window(per_s: int, median_s: float | None) -> Window:
    return Window(3.0, 4.0, per_s, 0, median_s)


@pytest.mark.parametrize(
    ("windows", "agreeing"),
    [
        ([_window(100, 0.010), _window(91, 0.010)], False),  # two are too few
        ([_window(100, 0.010), _window(91, 0.010), _window(95, 0.0101)], True),
        ([_window(100, 0.010), _window(89, 0.010), _window(95, 0.010)], False),  # their rates differ
        ([_window(100, 0.010), _window(95, 0.012), _window(95, 0.010)], False),  # their medians do
        ([_window(100, 0.010), _window(0, None), _window(95, 0.010)], False),  # in one nothing was answered
    ],
)
def test_three_windows_agree_that_lie_within_a_tenth(windows: list[Window], agreeing: bool):
    assert agree(windows, 0.1) is agreeing


def test_a_level_ends_when_three_windows_agree():
    plan = Plan(window_s=0.05, limit_s=60.0, stable=1.0)  # any three do
    level = closed_loop(Crew(), target(busy(0.001)), [question()], 1, plan)
    assert level.stable and len(level.windows) == 3


def test_a_level_ends_when_its_time_is_up():
    plan = Plan(window_s=0.05, limit_s=0.5, stable=-1.0)  # none ever agree
    level = closed_loop(Crew(), target(busy(0.001)), [question()], 1, plan)
    assert not level.stable
    assert level.windows[-1].start_s < plan.limit_s <= level.windows[-1].end_s


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_an_open_loop_sends_at_its_rate(arrivals: str):
    """By when requests were due, not by when a busy machine came to send them."""
    level = open_loop(Crew(), target(), [question()], 100, SHORT, arrivals)
    due = sorted(timing.intended_s for timing in level.timings)
    assert len(due) / due[-1] == pytest.approx(100, rel=0.25)
    if arrivals == "constant":
        assert due == pytest.approx([number / 100 for number in range(1, len(due) + 1)])


def test_a_stall_delays_everyone_who_was_due_meanwhile():
    """No coordinated omission: 100 arrivals/s during a stall of 0.5 s are some 50 late answers, not one."""
    stall_s = 0.5

    def behave(n: int) -> None:
        if n == 20:
            busy(stall_s)(n)
            raise ServerError("stalled")

    level = open_loop(Crew(), target(behave), [question()], 100, SHORT, "constant")
    (stalled,) = (timing for timing in level.timings if timing.error)
    meanwhile = [one for one in level.timings if stalled.sent_s < one.intended_s < stalled.done_s]
    assert len(meanwhile) >= 100 * stall_s - 1
    # It began after it was sent and lasted until it was done: who was due after `began_s` waited until `ended_s`.
    began_s, ended_s = stalled.done_s - stall_s, stalled.sent_s + stall_s
    assert all(one.latency_s >= ended_s - one.intended_s for one in meanwhile if one.intended_s > began_s)


def test_errors_are_counted_with_their_words():
    def fail(n: int) -> None:
        busy(0.005)(n)
        if n % 2:
            raise ServerError("the server is on fire")

    level = closed_loop(Crew(), target(fail), [question()], 1, SHORT)
    failed = [timing for timing in level.timings if timing.error]
    assert len(failed) == pytest.approx(len(level.timings) / 2, abs=1)
    assert failed[0].error == "ServerError: the server is on fire"
    assert sum(window.failed for window in level.windows) == pytest.approx(len(failed), abs=1)


def test_a_server_that_never_answers_is_counted_and_waited_for_no_longer_than_the_timeout():
    for level in (
        closed_loop(Crew(), target(lambda _: Event().wait()), [question()], 2, IMPATIENT),
        open_loop(Crew(), target(lambda _: Event().wait()), [question()], 10, IMPATIENT),
    ):
        assert {timing.error for timing in level.timings} == {TIMEOUT}
        assert min(timing.done_s - timing.sent_s for timing in level.timings) >= IMPATIENT.timeout_s
    timing, answer = ask_within(Crew(), target(lambda _: Event().wait()), question(), 0.1)
    assert timing.error == TIMEOUT and answer is None
