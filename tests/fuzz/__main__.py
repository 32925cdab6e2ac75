"""Damaged inputs of every kind, here and on a server, counted in one table. Exit code 1 where one is what none may be.

python -m tests.fuzz --cases 3000
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from tests.fuzz import served
from tests.fuzz.kinds import HERE
from tests.fuzz.outcomes import BAD, FINE, Campaign, tally


def main() -> None:
    """Run them all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=3000, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    started = perf_counter()
    print(f"| damaged | cases | {' | '.join((*FINE, *BAD))} |\n| --- |{' ---: |' * 8}")
    with TemporaryDirectory() as folder, served.serving_steps(Path(folder)) as server:
        kinds = HERE | served.campaigns(server)
        each = asked.cases / sum(campaign.share for campaign in kinds.values())
        found = [_told(name, one, max(3, round(each * one.share)), asked.seed) for name, one in kinds.items()]
    whole = sum((words for words, _ in found), Counter[str]())
    print(_row("all", whole))
    print(
        f"\n{whole.total()} damaged inputs of {len(found)} kinds in {perf_counter() - started:.0f} s", file=sys.stderr
    )
    bad = [line for _, lines in found for line in lines]
    print("\n".join(bad), file=sys.stderr)
    sys.exit(bool(bad))


def _told(name: str, campaign: Campaign, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    with TemporaryDirectory() as folder:
        words, bad = tally(campaign.outcomes(count, Path(folder), seed))
    print(_row(name, words), flush=True)
    return words, bad


def _row(name: str, words: Counter[str]) -> str:
    return f"| {name} | {words.total()} | {' | '.join(str(words[word]) for word in (*FINE, *BAD))} |"


if __name__ == "__main__":
    main()
