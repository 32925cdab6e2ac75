"""The last lines of a test run: what was skipped, and why."""

from collections import Counter
from collections.abc import Sequence

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print one line for each reason, the most frequent first."""
    lines = reasons(terminalreporter.stats.get("skipped", []))
    if lines:
        terminalreporter.section("skipped, and why")
    for line in lines:
        terminalreporter.write_line(line)


def reasons(reports: Sequence[pytest.TestReport | pytest.CollectReport]) -> list[str]:
    """Lines with each reason and its count; a module that is skipped as a whole counts once."""
    counts = Counter(_reason(report) for report in reports)
    return [f"{count:5}  {reason}" for reason, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    words = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    whole = " (a whole file)" if isinstance(report, pytest.CollectReport) else ""
    return words.removeprefix("Skipped: ") + whole
