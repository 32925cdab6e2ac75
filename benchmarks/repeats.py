"""How often an unchanged repeat is called worse: repeats `medseg bench --against` on the same network.

    python -m benchmarks.repeats brain-lgg [--repeats 10] [--run RUN] [--data DATA]

Every repeat is the command in a process of its own. Without --run, brain-lgg gets a small network with random weights;
without --data, patients are made up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from medseg.bench.judge.compare import WORSE
from medseg.bench.record import Record
from medseg.bench.show.tables import table
from medseg.bench.stored import read_json
from medseg.run import WEIGHTS, Run
from medseg.tasks import network_named, task_named

LIMITS = "score:-0.1%,p50:+10%,p95:+10%,throughput:-10%"
PATIENTS = 6


def main() -> None:
    """Measure once, repeat, and print the verdict of each repeat."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="medseg-repeats-") as name:
        folder = Path(name)
        runs = options.run or [small_run(folder / "run")]
        data = options.data or folder / "data"
        if not options.data:
            data.mkdir()
            task_named(options.task).known_data("test").phantom(data, PATIENTS, 0)
        first = measured(options.task, data, runs, folder / "0")
        rows = []
        for number in range(1, options.repeats + 1):
            made = measured(options.task, data, runs, folder / str(number), folder / "0" / "bench.json")
            rows.append(told(number, made))
            print(f"<!-- {' | '.join(rows[-1])} -->", file=sys.stderr)
    print(f"{first['started']}, {first['machine']['cpu']}, {first['machine']['cores']} cores; limits {LIMITS}\n")
    print(table(["repeat", "others' share of the cores", "checks", "unclear", "worse"], rows))
    clean = sum(row[-1] == "none" for row in rows)
    print(f"\n{clean} of {len(rows)} repeats reported no regression.")


def told(number: int, record: Record) -> list[str]:
    """A repeat's row: the number of checks, and which of them were called worse."""
    checks = record["against"]["checks"]
    worse = [f"{one['target']} {one['what']} {one['change']:+.1%}" for one in checks if one["verdict"] == WORSE]
    unclear = sum(one["verdict"] == "unclear" for one in checks)
    busy = max(target["usage"]["busy"] for target in record["targets"])
    return [str(number), f"{busy:.0%}", str(len(checks)), str(unclear), "; ".join(worse) or "none"]


def measured(task: str, data: Path, runs: list[Path], out: Path, against: Path | None = None) -> Record:
    """One run of the command, and its record. A worse repeat exits with 1 too, so only bench.json shows success."""
    command = [sys.executable, "-m", "medseg", "bench", task, str(data), "--quick", "--precision", "fp32"]
    command += [word for run in runs for word in ("--run", str(run))]
    command += ["--concurrency", "2", "--out", str(out)]
    command += ["--against", str(against), "--fail-on", LIMITS] if against else []
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if not (out / "bench.json").is_file():
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-800:]}")
    return read_json(out / "bench.json")


def small_run(folder: Path) -> Path:
    """An exported small brain-lgg network with random weights: its times are steady, its answers mean nothing."""
    import torch

    from medseg.export.chain import export
    from medseg.export.options import ExportOptions

    network, options = network_named("brain-lgg"), {"arch": "unet", "features": 4}
    torch.manual_seed(0)
    run = Run.create(folder, network.name, options, {"kind": "random"})
    torch.save(network.build(**options).state_dict(), folder / WEIGHTS)
    if failed := export(run, network, ExportOptions(samples=2), lambda _: None):
        sys.exit(f"the small network could not be exported: {json.dumps(failed)}")
    return folder


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--run", type=Path, action="append")
    parser.add_argument("--data", type=Path)
    found = parser.parse_args()
    if not found.run and found.task != "brain-lgg":
        parser.error(f"{found.task} needs a --run; only brain-lgg's network is made here")
    return found


if __name__ == "__main__":
    main()
