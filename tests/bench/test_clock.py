import numpy as np
import pytest

from medseg.bench.measure.clock import OTHER, Clock, Span, fan_out, shares, timed_pipeline
from medseg.task import Pipeline, Step, Tensor


def test_shares_sum_to_the_whole_and_name_what_nobody_timed():
    spans = [Span("read", 0.0, 2.0), Span("work", 3.0, 7.0)]
    assert shares(spans, 0.0, 10.0) == {"read": 2.0, "work": 4.0, OTHER: 4.0}


def test_time_inside_a_network_is_not_counted_twice():
    spans = [Span("find", 0.0, 10.0), Span("find: unet", 2.0, 5.0, inside="find", items=4)]
    assert shares(spans, 0.0, 10.0) == {"find": 7.0, "find: unet": 3.0}
    assert fan_out(spans) == {"find: unet": 4}


def test_stages_that_run_at_once_share_the_time():
    spans = [Span("find: unet", 0.0, 4.0, "find"), Span("find: unet", 2.0, 6.0, "find"), Span("find", 0.0, 8.0)]
    assert shares(spans, 0.0, 8.0) == {"find: unet": 6.0, "find": 2.0}
    assert shares([Span("a", 0.0, 4.0), Span("b", 0.0, 4.0)], 0.0, 4.0) == {"a": 2.0, "b": 2.0}


@pytest.mark.parametrize("seed", range(20))
def test_shares_always_sum_to_the_whole(seed: int):
    draw = np.random.default_rng(seed)
    spans = [Span(f"s{n % 4}", *sorted(draw.uniform(-1, 11, 2)), inside="s0" if n % 4 else None) for n in range(12)]
    assert sum(shares(spans, 0.0, 10.0).values()) == pytest.approx(10.0)


def test_a_timed_pipeline_answers_as_before_and_knows_its_networks():
    def twice(tensors, networks):
        return {"b": networks("net")(tensors["a"]) * 2}

    steps = (Step("twice", twice, ("a",), ("b",)), Step("again", "net", ("b",), ("c",)))
    pipeline = Pipeline(tuple(Tensor(name, "float32", (-1,)) for name in "abc"), ("a",), steps, ("c",))
    clock = Clock()
    networks = {"net": lambda batch: batch + 1}.__getitem__
    answer = timed_pipeline(pipeline, clock)({"a": np.zeros(3, np.float32)}, networks)
    assert np.array_equal(answer["c"], pipeline({"a": np.zeros(3, np.float32)}, networks)["c"])
    assert fan_out(clock.spans) == {"twice: net": 3, "again: net": 3}
