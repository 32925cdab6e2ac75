import pytest

from medseg.bench.ledger import Ledger, amdahl, rows
from medseg.bench.served import BETWEEN, COPIES, QUEUE, TRANSFER, opened_up, server_stages, spent
from medseg.task import Step


def entry(**seconds: float) -> dict:
    return {kind: {"count": 1, "ns": int(value * 1e9)} for kind, value in seconds.items()}


def test_statistics_between_two_readings_are_seconds_per_request():
    before = {"net": entry(queue=1.0, compute_infer=2.0)}
    after = {
        "net": entry(queue=2.0, compute_infer=8.0),
        "new": {"queue": {"count": "3"}},
    }  # as gRPC's JSON leaves zeros away
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
    opened = opened_up(book, {"find": 6.0, QUEUE: 1.0}, server_s=8.0)
    assert {row.stage for row in opened.rows} == {"read", "find", QUEUE, TRANSFER}
    assert opened.total_s == pytest.approx(10.0)
    assert next(row for row in opened.rows if row.stage == TRANSFER).seconds == pytest.approx(9 / 8)


def test_amdahl_names_the_largest_stage_and_what_it_can_bring():
    text = amdahl(Ledger(rows({"read": 2.0, "find": 8.0}, {}), 10.0))
    assert text.startswith("Next to speed up: find, 80%") and "1.67 times" in text and "5 times" in text
