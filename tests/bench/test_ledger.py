import numpy as np
import pytest

from medseg.bench.measure.ledger import ledger, shown
from medseg.bench.measure.load import Timing


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 18, 100])
def test_the_ledger_explains_the_median_however_skewed_the_latencies_are(count: int):
    draw = np.random.default_rng(count)
    latencies_s = 0.1 + draw.exponential(0.01, count) + (draw.random(count) < 0.2)
    timings = [Timing("case", 0.0, 0.0, one, {"read": 0.02, "work": one - 0.02}) for one in latencies_s]
    book = ledger(timings)
    assert book is not None and book.total_s == pytest.approx(book.median_s, rel=0.03)
    assert sum(row.share for row in book.rows) == pytest.approx(1)


def test_failed_requests_are_not_part_of_the_ledger():
    good, bad = Timing("a", 0, 0, 1.0, {"work": 1.0}), Timing("a", 0, 0, 9.0, {"work": 9.0}, error="timeout")
    assert ledger([bad]) is None
    book = ledger([good, bad])
    assert book is not None and book.median_s == book.total_s == 1.0


def test_rows_without_time_are_named_but_not_listed():
    rows = [{"stage": stage, "share": share} for stage, share in (("work", 0.9995), ("step", 0.0), ("other", 0.0005))]
    listed, note = shown(rows)
    assert [row["stage"] for row in listed] == ["work"]
    assert "step, other" in note and "0.05%" in note
    assert shown(rows[:1]) == (rows[:1], "")
