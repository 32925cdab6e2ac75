"""A cohort on two Ray nodes while things go wrong, compared with `medseg predict` on the same files.

The inputs are mixed with damaged copies of themselves, with one that ends its worker by a segmentation fault, and with
one that never ends. After a fifth of the cases a worker is killed, after two fifths the second node is stopped, and
after three fifths another one starts. At the end every input must be answered with the files that `medseg predict`
writes, every bad one must have failed with its reason, and no case may be there twice. If not, the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medseg.api.predictor import Predictor, open_predictor
from medseg.bench.show.tables import table
from medseg.cohort.batch import Rules, batch
from medseg.cohort.case import DONE, FAILED, Work
from medseg.cohort.how import how_asked
from medseg.cohort.ledger import Entry, Ledger
from medseg.cohort.on_ray import Actors
from medseg.cohort.sources import files_of
from medseg.cohort.writing import ANSWERS, ARRAYS
from medseg.files import sha256
from medseg.task import Files, Reading, Source, Task
from medseg.tasks import task_named

CRASHES, HANGS, DAMAGED = "crashes", "hangs", "damaged"  # folders of bad inputs
SAYS = {CRASHES: "SIGSEGV", HANGS: "--timeout", DAMAGED: "expected"}  # what the reason of a failure must contain
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}


@contextmanager
def opened(*asked: Any) -> Iterator[Predictor]:
    """For workers: the usual predictor, but two inputs misbehave while they are read."""
    with open_predictor(*asked) as predictor:
        files = replace(predictor.task.files, sources=_misbehaving(predictor.task.files))
        yield replace(predictor, task=replace(predictor.task, files=files))


def _misbehaving(files: Files) -> Any:
    def load(source: Source) -> Any:
        if CRASHES in source.path.parts:
            signal.raise_signal(signal.SIGSEGV)
        if HANGS in source.path.parts:
            time.sleep(3600)
        return source.load()

    def sources(path: Path, reading: Reading) -> list[Source]:
        return [replace(one, load=lambda one=one: load(one)) for one in files.sources(path, reading)]

    return sources


class Nodes:
    """A Ray cluster of two nodes on this machine, with one core each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        calm = {"_system_config": {"memory_monitor_refresh_ms": 0}}  # other programs' memory must not end workers
        self.cluster = Cluster(initialize_head=True, head_node_args=NODE | calm | {"include_dashboard": False})
        self.address: str = self.cluster.address
        self.start()

    def start(self) -> None:
        """Start the second node."""
        self.second = self.cluster.add_node(**NODE)

    def stop(self) -> None:
        """Kill all processes of the second node."""
        self.cluster.remove_node(self.second, allow_graceful=False)


@dataclass
class Storm:
    """What happens during the cohort, and all cases in the order in which they ended."""

    nodes: Nodes
    cases: int
    heard: list[Entry] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def listen(self, entry: Entry) -> None:
        """Called with each finished case."""
        self.heard.append(entry)
        events = (
            ("a worker was killed", self._kill),
            ("the second node was stopped", self.nodes.stop),
            ("another node was started", self.nodes.start),
        )
        if len(self.told) < len(events) and len(self.heard) >= self.cases * (len(self.told) + 1) / 5:
            words, event = events[len(self.told)]
            try:
                event()
            except ProcessLookupError:  # that worker has died by itself: the next case's worker is killed
                return
            self.told.append(f"{words} after {len(self.heard)} cases")

    def _kill(self) -> None:
        """Kill the worker that ended the latest case."""
        os.kill(int(self.heard[-1].worker.rpartition(":")[2]), signal.SIGKILL)


def bad_inputs(good: Sequence[Source], folder: Path, damaged: int) -> list[Path]:
    """Copies of the first inputs under other names: one for each way to fail, and so many damaged ones."""
    names = [CRASHES, HANGS, *[f"{DAMAGED}-{number}" for number in range(damaged)]]
    return [_bad(source, folder / name.partition("-")[0], name) for name, source in zip(names, good, strict=False)]


def _bad(source: Source, folder: Path, name: str) -> Path:
    """A copy of a source under another name, which its files' names and headers follow."""
    path = folder / source.path.name.replace(source.name, name)
    place = path if source.path.is_dir() else folder
    place.mkdir(parents=True, exist_ok=True)
    copies = [place / file.name.replace(source.name, name) for file in files_of(source.path)]
    for file, copy in zip(files_of(source.path), copies, strict=True):
        shutil.copyfile(file, copy)
        if copy.suffix == ".mhd":
            copy.write_text(copy.read_text().replace(source.name, name))
    if name.startswith(DAMAGED):
        largest = max(copies, key=lambda one: one.stat().st_size)
        os.truncate(largest, largest.stat().st_size // 2)
    return path


def predicted(task: Task, options: argparse.Namespace, out: Path) -> dict[str, str]:
    """The files that `medseg predict` writes, each with its sha256; a volume's are in a folder of its name."""
    runs = [word for run in options.run for word in ("--run", str(run))]
    command = [sys.executable, "-m", "medseg", "predict", task.name, *map(str, options.inputs), *runs]
    subprocess.run([*command, "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
    return {path.relative_to(out).as_posix(): sha256(path) for path in out.rglob("*") if path.is_file()}


def written(task: Task, entries: Iterable[Entry]) -> dict[str, str]:
    """The same files in the cohort, as its ledger lists them."""
    found = {}
    for entry in entries:
        for path, digest in entry.files.items():
            name = Path(path).relative_to(ANSWERS)
            found[(name if task.files.volumes else name.relative_to(entry.case)).as_posix()] = digest
    return {name: digest for name, digest in found.items() if Path(name).name != ARRAYS}


def counts(storm: Storm, ledger: Ledger, bad: Collection[str]) -> Iterator[tuple[str, int, int]]:
    """What is counted after the cohort, how often it is due, and how often it was seen."""
    entries = ledger.entries.values()
    yield "inputs", storm.cases, len(entries)
    ended = Counter(entry.key for entry in storm.heard)
    yield "each ended once", storm.cases, sum(count == 1 for count in ended.values())
    answered = [entry for entry in entries if entry.status == DONE]
    yield "good ones answered", storm.cases - len(bad), sum(entry.input not in bad for entry in answered)
    yield "bad ones failed, each with its reason", len(bad), sum(one.input in bad and _rightly(one) for one in entries)


def _rightly(entry: Entry) -> bool:
    kind = next(kind for kind in SAYS if kind in entry.input)
    return entry.status == FAILED and not entry.files and SAYS[kind] in entry.error


def storm(options: argparse.Namespace) -> None:
    """Run the cohort, then `medseg predict`, and print what was seen."""
    task = task_named(options.task)
    good = [one for path in options.inputs for one in task.files.sources(path, Reading())]
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])  # where Ray's workers find `opened`
    with tempfile.TemporaryDirectory(prefix="medseg-storm-") as name:
        bad = {str(path) for path in bad_inputs(good, Path(name, "bad"), options.damaged)}
        seen = Storm(Nodes(), len(good) + len(bad))
        defaults = {option.name: option.default for option in task.options}  # as the command line gives them
        work = Work(task.name, "", tuple(str(run.absolute()) for run in options.run), options=defaults)
        asked = replace(work, opener="benchmarks.cohorts.storm:opened"), how_asked(work)
        words = [*sorted(bad), *map(str, options.inputs)]
        began = time.perf_counter()
        ledger = batch(
            task,
            words,
            Path(name, "out"),
            asked,
            lambda one: Actors(one, seen.nodes.address, 2, 0, options.timeout),
            Rules(retry=1, heard=seen.listen),
        )
        seconds = time.perf_counter() - began
        expected = predicted(task, options, Path(name, "predicted"))
    found = written(task, ledger.entries.values())
    same = sum(found.get(name) == digest for name, digest in expected.items())
    rows = [*counts(seen, ledger, bad), ("files as medseg predict writes them", len(expected), same)]
    rows.append(("files that it does not write", 0, len(found.keys() - expected.keys())))
    print(table(["what", "due", "seen"], [[what, str(due), str(seen)] for what, due, seen in rows]))
    print(f"\n{seen.cases} cases in {seconds:.0f} s: {'; '.join(seen.told)}")
    print("\n".join(sorted(f"{one.case}: {one.error}" for one in ledger.entries.values() if one.status == FAILED)))
    sys.exit(any(due != seen for _, due, seen in rows))
