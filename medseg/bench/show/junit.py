"""The checks of a comparison in words, and as JUnit XML."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from medseg.bench.judge.compare import UNCLEAR, WORSE, Check
from medseg.bench.show.tables import seconds


def junit(checks: Sequence[Check], task: str) -> bytes:
    """The checks as JUnit XML: one test case each, `worse` a failure, `unclear` skipped."""
    counts = {verdict: str(sum(check.verdict == verdict for check in checks)) for verdict in (WORSE, UNCLEAR)}
    suite = ElementTree.Element(
        "testsuite",
        name=f"medseg bench {task}",
        tests=str(len(checks)),
        failures=counts[WORSE],
        skipped=counts[UNCLEAR],
    )
    for check in checks:
        case = ElementTree.SubElement(suite, "testcase", classname=check.target, name=check.what)
        if check.verdict == WORSE:
            ElementTree.SubElement(case, "failure", message=sentence(check))
        if check.verdict == UNCLEAR:
            ElementTree.SubElement(case, "skipped", message=sentence(check))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, "utf-8", xml_declaration=True)


def sentence(check: Check) -> str:
    """What was found, in words."""
    reason = " (too few requests or windows to tell)" if check.verdict == UNCLEAR else ""
    change, low, high = (round(part, 3) + 0.0 for part in (check.change, check.low, check.high))  # never -0.0%
    before, after = (
        seconds(value) if check.unit == "s" else f"{value:.4g}{check.unit}" for value in (check.before, check.after)
    )
    values = f"{before} before, {after} now, {change:+.1%}"
    band = f"95 % band {low:+.1%} to {high:+.1%}, limit {check.limit:+.1%}"
    return f"{check.target}: {check.what} {check.verdict}{reason}: {values} ({band})"
