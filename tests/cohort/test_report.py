"""What is told of a cohort: its report from the ledger, and metrics while it runs."""

import re
from pathlib import Path
from urllib.request import urlopen

import pytest

from medseg.cohort import figures
from medseg.cohort.case import DONE, FAILED
from medseg.cohort.ledger import Entry, Ledger
from medseg.cohort.metrics import exported
from medseg.cohort.progress import Progress
from medseg.cohort.report import PARTS, write_report
from medseg.errors import InputError

HOUR = 3600.0


def _ledger() -> Ledger:
    """A call of an hour that was stopped, another of half an hour; ten cases done in each, one failed."""
    seconds = {"read": 1.0, "infer": 2.0, "write": 0.5}
    ats = [*(100 + 360 * number for number in range(10)), *(8000 + 180 * number for number in range(10))]
    entries = {
        f"case|{number}": Entry(
            f"case|{number}", "in", "own", DONE, "", {"bytes": 2**30}, {}, seconds, 1, f"host:{number % 2}", at
        )
        for number, at in enumerate(ats)
    }
    bad = Entry("bad", "in", "own", FAILED, "is <damaged>; expected words", attempts=3, worker="host:0", at=8100.0)
    sessions = [
        {"began": 100.0, "price_per_hour": 2.0},
        {"began": 8000.0, "ended": 8000.0 + HOUR / 2, "price_per_hour": 4},
    ]
    return Ledger(
        {"task": "faulty", "medseg": "1", "runs": [{"network": "n", "sha256": "a" * 64}]},
        sessions,
        entries | {"bad": bad},
    )


def test_figures_are_those_of_the_ledger() -> None:
    ledger = _ledger()
    assert figures.spans(ledger) == [(100.0, 100.0 + 9 * 360), (8000.0, 9800.0)]
    assert figures.wall_s(ledger) == 9 * 360 + 1800
    assert figures.cost(ledger) == pytest.approx(2 * 0.9 + 4 * 0.5)
    (row,) = figures.overview(ledger)[1]
    assert [str(cell) for cell in row] == ["21", "20", "1", "0", "1.40 h", "14", "20.00 GiB", "190.00"]
    assert [str(cell) for cell in figures.stages(ledger)[1][1]] == ["infer", "2.00 s", "2.00 s", "2.00 s", "40.00 s"]
    at_once = [{"began": 0.0, "ended": HOUR}, {"began": 1.0, "ended": HOUR - 1}]  # of two shards
    assert figures.wall_s(Ledger({}, at_once, {})) == HOUR and figures.cost(Ledger({}, at_once, {})) is None


def test_the_report_says_what_failed_and_escapes_it(tmp_path: Path) -> None:
    markdown, page = write_report(tmp_path, _ledger())
    assert r"| bad | is <damaged>; expected words | 3 | host:0 |" in markdown.read_text()
    assert r"case\|1" in markdown.read_text()
    text = page.read_text()
    assert "is &lt;damaged&gt;; expected words" in text and "<svg" in text and "--ink" in text
    assert not re.search(r'(src|href)="http', text), "it needs nothing else"
    for part in PARTS.values():
        assert part(Ledger())[0], "an empty ledger has a report too"
    write_report(tmp_path, Ledger())


def test_metrics_say_how_it_goes() -> None:
    progress = Progress()
    progress.begun(30, 4)
    for entry in _ledger().entries.values():
        progress.heard(entry)
    with exported(progress, 0) as port:
        said = urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    assert 'medseg_cohort_cases_total{status="done"} 20' in said and 'status="failed"} 1' in said
    assert "medseg_cohort_cases 30" in said and 'stage_seconds_total{stage="infer"} 40.0' in said
    assert "25 of 30 cases" in progress.line
    with pytest.raises(InputError, match="--metrics-port is 99999"), exported(progress, 99999):
        pass
    progress.close()
