"""A soak test: `medseg serve gi-tract` under mixed load and kills; counts answers, recovery times and memory growth.

    python -m benchmarks.soak --requests 100000 --out soak.json

Of a hundred requests, 80 are small pictures whose answer is known, 8 are damaged, 6 malformed and 6 cancelled. Nine
times a process is killed or stopped. Once, some large pictures are sent. All traffic stays on loopback. The test ends
after --requests or --minutes. Exit code 1: an answer was wrong or lost, or serve said too early that a model is back.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from benchmarks.ports import ANY_PORTS, told_ports
from benchmarks.soak.asking import AT_ONCE, LARGE, SMALL, TASK, Asked, Client, pictures
from benchmarks.soak.killing import KILLS, Recovery, strike
from benchmarks.soak.memory import Memory
from tests.bench.runs import bright_run

READINGS = 20  # of memory
LARGE_AT = 11  # large pictures are sent after this reading


@dataclass
class Soak:
    """A server under test, the results so far, and the lines that it wrote to stderr."""

    serve: subprocess.Popen[str]
    told: list[str]
    asked: Asked
    memory: Memory
    recoveries: list[Recovery] = field(default_factory=list)
    seconds: float = 0.0


@contextmanager
def served(folder: Path, requests: int, large: bool) -> Iterator[Soak]:
    """Start `medseg serve` and wait until it is ready; it is stopped when the block is left."""
    run = bright_run(folder / "run", TASK.networks[0])
    command = [sys.executable, "-m", "medseg", "serve", TASK.name, "--run", str(run.path), *ANY_PORTS]
    process = subprocess.Popen(
        [*command, "--log", str(folder / "log")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stderr
    ports = told_ports(process.stdout.readline())
    lines, told = process.stderr, list[str]()
    Thread(target=lambda: told.extend(iter(lines.readline, "")), daemon=True).start()
    try:
        asked = Asked(ports, pictures(run, 12, SMALL), pictures(run, 2, LARGE) if large else [])
        yield Soak(process, told, asked, Memory(requests // 10))
    finally:
        process.terminate()
        process.wait(60)


def soaked(soak: Soak, requests: int, minutes: float, kills: bool, large: int) -> None:
    """Run the whole soak test."""
    started, asked = time.monotonic(), soak.asked

    def more() -> bool:
        return asked.done < requests and time.monotonic() < started + minutes * 60 and soak.serve.poll() is None

    with ThreadPoolExecutor(AT_ONCE) as pool:
        askers = [pool.submit(_asking, asked, seed, more) for seed in range(AT_ONCE)]
        soak.memory.note(soak.serve, asked)
        for share in range(1, READINGS + 1):
            while asked.done < requests * share / READINGS and not _over(askers):
                time.sleep(0.1)
            soak.memory.note(soak.serve, asked)
            if _over(askers):
                break
            if share == LARGE_AT and large:
                _ask_large(soak, large)
            kill, rest = divmod(share, READINGS // 10)
            if kills and not rest and 0 < kill <= len(KILLS):
                soak.recoveries.append(strike(asked, soak.serve, soak.told, KILLS[kill - 1]))
        for asker in askers:
            asker.result()
    soak.seconds = time.monotonic() - started


def _asking(asked: Asked, seed: int, more: Callable[[], bool]) -> None:
    client = Client(asked, seed)
    while more():
        if asked.going.wait(1):
            client.ask()


def _over(askers: list[Future[None]]) -> bool:
    return all(asker.done() for asker in askers)


def _ask_large(soak: Soak, count: int) -> None:
    """Send large pictures, two at a time, beside the other requests; then read the memory."""
    soak.asked.beside = True
    with ThreadPoolExecutor(2) as pool:
        clients = [Client(soak.asked, seed) for seed in (100, 101)]
        list(pool.map(lambda index: clients[index % 2].ask_large(), range(count)))
    soak.asked.beside = False
    soak.memory.note(soak.serve, soak.asked)


def table(soak: Soak) -> str:
    """Outcomes, recoveries and memory as text."""
    lines = [f"{soak.asked.done} requests and {sum(soak.asked.outcomes.values()) - soak.asked.done} beside them"]
    lines[0] += f" in {soak.seconds / 60:.0f} minutes"
    lines += [f"{count:8} {outcome}" for outcome, count in sorted(soak.asked.outcomes.items())]
    lines += [f"{count:8} times: {trouble}" for trouble, count in soak.asked.troubles.most_common()]
    for one in soak.recoveries:
        late = f" LATE: due in {one.due:.0f}" if one.due and one.seconds > one.due else ""
        early = f" SAID TOO EARLY: {one.early} asked in vain" if one.early else ""
        lines.append(f"{one.process:24} {one.how:8} right again after {one.seconds} s{late}{early}; {one.said[-1:]}")
    return "\n".join([*lines, *soak.memory.table()])


def main() -> None:
    """Run the soak test, print its table, and write its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--minutes", type=float, default=600.0, help="the most that it may take")
    parser.add_argument("--no-kills", action="store_true", help="the mixture alone: then each process lives to the end")
    parser.add_argument("--large", type=int, default=40, help="pictures of 4000 x 4000 pixels, once; 0 for none")
    parser.add_argument("--out", type=Path, help="where the numbers go, as JSON")
    wanted = parser.parse_args()
    with TemporaryDirectory(prefix="medseg-soak-") as folder:
        with served(Path(folder), wanted.requests, wanted.large > 0) as soak:
            soaked(soak, wanted.requests, wanted.minutes, not wanted.no_kills, wanted.large)
        print(table(soak))
    found = {
        "requests": soak.asked.done,
        "seconds": soak.seconds,
        "outcomes": soak.asked.outcomes,
        "troubles": soak.asked.troubles,
        "memory_mb": soak.memory.readings,
        "growth": {process: soak.memory.growth(process) for process in soak.memory.readings},
        "recoveries": [asdict(one) | {"due": one.due} for one in soak.recoveries],
    }
    if wanted.out:
        wanted.out.write_text(json.dumps(found, indent=2) + "\n")
    bad = any(outcome.isupper() for outcome in soak.asked.outcomes) or any(one.early for one in soak.recoveries)
    sys.exit(bad)


if __name__ == "__main__":
    main()
