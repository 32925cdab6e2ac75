"""docs/gpu.md's tables, made from the tiers' results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.gpu.sheet import Item, Result, read
from benchmarks.gpu.tiers import TIERS
from medseg.bench.show.tables import table
from medseg.files import whole_file

PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"
START, END = "<!-- results: start -->", "<!-- results: end -->"
NOT_YET = "Not run on a GPU yet: there are no numbers here, and none elsewhere in this documentation come from a GPU."


def put(results: Sequence[Result], page: Path | None = None) -> None:
    """Replace the text between the page's marks. Rehearsals are not results."""
    page = page or PAGE
    text = page.read_text()
    before, after = text[: text.index(START)], text[text.index(END) :]
    with whole_file(page) as path:
        path.write_text(f"{before}{START}\n{section(results)}\n{after}")


def results_in(folder: Path) -> list[Result]:
    """The results in a folder, in the tiers' order."""
    files = [folder / f"{tier.name}.json" for tier in TIERS]
    return [read(file) for file in files if file.is_file()]


def section(results: Sequence[Result]) -> str:
    """The tables of a run on a GPU, or the sentence that there are none."""
    real = [result for result in results if not result.rehearsal]
    return "\n\n".join(part for result in real for part in _parts(result)) if real else NOT_YET


def _parts(result: Result) -> Iterator[str]:
    yield f"### {result.title}"
    how = f"{result.state} in {result.seconds:g} s" + (f": {result.problem}" if result.problem else "")
    yield f"On {result.gpu or 'no GPU'}; {how}."
    rows = [item for item in result.items if item.facts]
    if result.tier == "facts":  # few items with many facts: one fact per line
        yield from (
            table(["", item.name], [[name, _cell(value)] for name, value in item.facts.items()]) for item in rows
        )
    else:
        yield from (_group(group) for group in _groups(rows))
    yield from (f"{item.name}: not reached, {item.problem or item.short}." for item in result.items if _left(item))


def _left(item: Item) -> bool:
    return bool(item.problem or item.short)


def _groups(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Items with the same kinds of facts, which share a table."""
    known: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        known.setdefault(tuple(item.facts), []).append(item)
    yield from known.values()


def _group(items: Sequence[Item]) -> str:
    columns = list(items[0].facts)
    return table(["", *columns], [[item.name, *(_cell(item.facts[one]) for one in columns)] for item in items])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
