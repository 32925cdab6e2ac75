import pytest

from medseg.bench.measure.ledger import Ledger, amdahl, rows
from medseg.bench.measure.served import (
    BETWEEN,
    CLIENT,
    COPIES,
    QUEUE,
    TRANSFER,
    fan_out,
    opened_up,
    server_stages,
    spent,
    stage_items,
)
from medseg.task import Step


def entry(**seconds: float) -> dict:
    return {kind: {"count": 1, "ns": int(value * 1e9)} for kind, value in seconds.items()}


def test_statistics_between_two_readings_are_seconds_per_request():
    before = {"net": entry(queue=1.0, compute_infer=2.0)}
    after = {
        "net": entry(queue=2.0, compute_infer=8.0),
        "new": {"queue": {"count": "3"}},
    }  # gRPC's JSON leaves out zeros
    assert spent(before, after, 2) == {"net": {"queue": 0.5, "compute_infer": 3.0}, "new": {"queue": 0.0}}


STEPS = (Step("find", lambda t, n: t, (), ()), Step("judge", "net-b", (), ()))


def test_server_stages_sum_to_the_ensemble_and_take_networks_out_of_their_steps():
    seconds = {
        "ours": {"success": 10.0},
        "ours-find-step": {"queue": 0.5, "compute_input": 0.25, "compute_infer": 6.0, "compute_output": 0.25},
        "net-a-network": {"compute_infer": 4.0, "queue": 9.0},
        "net-b-network": {"queue": 0.5, "compute_infer": 2.0},
    }
    stages = server_stages(seconds, "ours", STEPS, {"find": ["net-a"]})
    assert stages == {QUEUE: 1.0, COPIES: 0.5, "find: net-a": 4.0, "find": 2.0, "judge": 2.0, BETWEEN: 0.5}


def test_steps_that_ran_side_by_side_are_scaled_to_the_time_they_took_together():
    seconds = {
        "ours": {"success": 3.0},
        "ours-find-step": {"compute_infer": 3.0},
        "net-b-network": {"compute_infer": 3.0},
    }
    stages = server_stages(seconds, "ours", STEPS, {})
    assert sum(stages.values()) == pytest.approx(3.0)
    assert stages["find"] == stages["judge"] == pytest.approx(1.5)


def test_the_server_row_is_opened_up_and_the_ledger_keeps_its_sum():
    book = Ledger(rows({"read": 1.0, "server": 9.0}, {}), 10.0)
    opened = opened_up(book, {"find": 6.0, QUEUE: 1.0}, 8.0, 0.25, {"find": 88.0})
    found = {row.stage: row.seconds for row in opened.rows}
    assert set(found) == {"read", "find", QUEUE, CLIENT, TRANSFER}
    assert opened.total_s == pytest.approx(10.0)
    assert found[CLIENT] == pytest.approx(0.25 * 9 / 8) and found[TRANSFER] == pytest.approx(0.75 * 9 / 8)
    assert {row.stage: row.items for row in opened.rows if row.items} == {"find": 88.0}


def test_an_empty_request_that_took_longer_than_is_left_counts_for_no_more():
    opened = opened_up(Ledger(rows({"server": 8.0}, {}), 8.0), {"find": 7.0}, 8.0, 3.0, {})
    assert {row.stage: row.seconds for row in opened.rows} == {"find": 7.0, CLIENT: 1.0, TRANSFER: 0.0}


def test_what_networks_were_given_within_a_request_is_counted_and_goes_to_the_stage_that_calls_them():
    before = {"net-a-network": {"inference_count": 8}}
    after = {"net-a-network": {"inference_count": "184"}, "net-b-network": {"inference_count": 6}, "ours": {}}
    given = fan_out(spent(before, after, 2), ["net-a", "net-b", "net-c"])
    assert given == {"net-a": 88, "net-b": 3}
    assert stage_items(given, STEPS, {}) == {"judge": 3}
    assert stage_items(given, STEPS, {"find": ["net-a"]}) == {"judge": 3, "find: net-a": 88}


def test_amdahl_names_the_largest_stage_and_what_it_can_bring():
    text = amdahl(Ledger(rows({"read": 2.0, "find": 8.0}, {}), 10.0))
    assert text.startswith("Next to speed up: find, 80%") and "1.67 times" in text and "5 times" in text
