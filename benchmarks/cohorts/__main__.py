"""What a cohort costs besides inference, how fast it is, how long an archive takes, and what it withstands.

    python -m benchmarks.cohorts empty [--cases 20000] [--workers 2]
    python -m benchmarks.cohorts compare TASK INPUT... --run RUN [--run RUN] [--workers N] [--loop 5] [--rounds 3]
    python -m benchmarks.cohorts simulate [--cases 100000] [--workers 64] [--read 4] [--infer 12] [--write 2]
    python -m benchmarks.cohorts storm TASK INPUT... --run RUN [--run RUN] [--damaged 10] [--timeout 30]

`empty` sends empty cases through real workers, and measures the scheduling time per case and the memory. `compare`
answers the same files with the bare pipeline in this process, with `medseg batch`, and with a shell loop of `medseg
predict` over the first few. `simulate` sends made-up outcomes to scheduler and ledger, in simulated time. `storm`
answers files on two Ray nodes while workers and a node are killed, and compares the answers with `medseg predict`'s.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.cohorts.compare import compare
from benchmarks.cohorts.empty import empty
from benchmarks.cohorts.simulate import simulate
from benchmarks.cohorts.storm import storm


def main() -> None:
    """Measure what was asked for and print it as a table."""
    options = _options()
    {"empty": empty, "compare": compare, "simulate": simulate, "storm": storm}[options.what](options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="what", required=True)
    one = kinds.add_parser("empty")
    one.add_argument("--cases", type=int, default=20_000)
    one.add_argument("--workers", type=int, default=2)
    one = kinds.add_parser("compare")
    one.add_argument("task")
    one.add_argument("inputs", nargs="+", type=Path)
    one.add_argument("--run", action="append", required=True, type=Path)
    one.add_argument("--loop", type=int, default=5, help="cases of the shell's loop")
    one.add_argument("--workers", type=int, help="of medseg batch; otherwise its own default")
    one.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    one = kinds.add_parser("simulate")
    one.add_argument("--cases", type=int, default=100_000)
    one.add_argument("--workers", type=int, default=64)
    for stage, seconds in (("read", 4.0), ("infer", 12.0), ("write", 2.0)):
        one.add_argument(f"--{stage}", type=float, default=seconds, help="median seconds of a case")
    one.add_argument("--deaths", type=float, default=1e-4, help="share of the cases that end their worker")
    one.add_argument("--bad", type=float, default=2e-3, help="share of the cases that are refused")
    one = kinds.add_parser("storm")
    one.add_argument("task")
    one.add_argument("inputs", nargs="+", type=Path)
    one.add_argument("--run", action="append", required=True, type=Path)
    one.add_argument("--damaged", type=int, default=10, help="damaged inputs")
    one.add_argument("--timeout", type=float, default=30.0, help="seconds after which a case counts as hanging")
    return parser.parse_args()


if __name__ == "__main__":
    main()
