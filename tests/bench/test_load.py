from threading import Event

import numpy as np
import pytest

from medseg.bench.load import TIMEOUT, Crew, Plan, ask_within, closed_loop, open_loop
from medseg.bench.record import latencies
from medseg.errors import ServerError
from tests.bench.servers import busy, question, target

SHORT = Plan(warmup=0, rounds=1, window_s=0.3, limit_s=2.0, timeout_s=1.0)


def test_one_worker_is_as_fast_with_four_askers_but_each_waits_four_times_as_long():
    one = closed_loop(Crew(), target(busy(0.02)), [question()], 1, SHORT)
    four = closed_loop(Crew(), target(busy(0.02)), [question()], 4, SHORT)
    assert four.windows[-1].per_s == pytest.approx(one.windows[-1].per_s, rel=0.5)
    ratio = latencies(four.timings)["p50_s"] / latencies(one.timings)["p50_s"]
    assert 2.5 < ratio < 6  # 4, but for what else the machine does in these seconds


def test_a_level_ends_when_three_windows_agree_or_its_time_is_up():
    steady = closed_loop(Crew(), target(busy(0.02)), [question()], 1, SHORT)
    assert steady.stable and len(steady.windows) < 6
    jumpy = closed_loop(Crew(), target(lambda n: busy(0.001 * (n % 97))(n)), [question()], 1, SHORT)
    assert jumpy.windows[-1].end_s <= SHORT.limit_s + SHORT.window_s


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_an_open_loop_sends_at_its_rate(arrivals: str):
    level = open_loop(Crew(), target(), [question()], 100, SHORT, arrivals)
    seconds = max(timing.intended_s for timing in level.timings)
    assert len(level.timings) / seconds == pytest.approx(100, rel=0.25)


def test_a_stall_delays_everyone_who_was_due_meanwhile():
    """No coordinated omission: 100 arrivals/s during a stall of 0.5 s are some 50 late answers, not one."""
    level = open_loop(Crew(), target(lambda n: busy(0.5 if n == 20 else 0.0)(n)), [question()], 100, SHORT, "constant")
    late = [timing.latency_s for timing in level.timings if timing.latency_s > 0.1]
    assert 30 < len(late) < 50
    assert np.median(late) == pytest.approx(0.3, abs=0.1)


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
        closed_loop(Crew(), target(lambda _: Event().wait()), [question()], 2, SHORT),
        open_loop(Crew(), target(lambda _: Event().wait()), [question()], 10, SHORT),
    ):
        assert {timing.error for timing in level.timings} == {TIMEOUT}
        assert max(timing.done_s for timing in level.timings) < SHORT.limit_s + SHORT.timeout_s + 1
    timing, answer = ask_within(Crew(), target(lambda _: Event().wait()), question(), 0.1)
    assert timing.error == TIMEOUT and answer is None


def test_the_client_adds_less_than_a_millisecond():
    level = closed_loop(Crew(), target(), [question()], 1, SHORT)
    assert latencies(level.timings)["p50_s"] < 1e-3
