"""docs/metrics.md's tables: every task's scores, written by `make docs` from where `medseg info` has them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from medseg.metrics.definitions import markdown
from medseg.tasks import task_named

_PLACE = re.compile(r"(<!-- scores (?P<task>[\w-]+) -->\n)(?P<old>.*?)(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """The text with each table between its marks, such as `<!-- scores luna -->` and `<!-- end -->`."""
    return _PLACE.sub(_table, text)


def _table(place: re.Match[str]) -> str:
    metrics = task_named(place["task"]).known_scoring("say what its scores mean").metrics
    return f"{place[1]}{markdown(metrics)}\n{place[4]}"


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(filled(document.read_text()))
