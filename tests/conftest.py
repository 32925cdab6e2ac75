"""Runs that several tests share, exported once per session: LUNA's networks, small and random, or published."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from medseg.run import WEIGHTS, Run
from medseg.tasks import network_named
from tests.ending import pytest_terminal_summary as pytest_terminal_summary  # a hook, which pytest finds here
from tests.shared import SHARED

SMALL = {
    "luna-segment": {"context": 3, "features": 4, "depth": 3},
    "luna-nodule": {"features": 2},
    "luna-malignancy": {"features": 2},
}

# Waiting threads sleep instead of spinning: on a busy machine a fit is then up to five times as fast. torch reads this
# when it is first imported, here and in the processes that tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in a background job; children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

# On a busy machine an example, or making one, may take any time: Hypothesis would call that a failure.
settings.register_profile("medseg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("medseg")

# The files that take longest come first, so that none is left over when the others have ended. A process takes a file
# at a time (--dist loadfile), in this order if xdist does not change it (--no-loadscope-reorder).
LONG = (
    "tests/api/test_docstrings.py",
    "tests/test_killed_commands.py",
    "tests/triton_models",
    "tests/examples",
    "tests/cli",
    "tests/train",
    "tests/export",
    "tests/cohort",
    "tests/bench",
    "tests/data/test_segmentation.py",
    "tests/benchmarks",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The order of LONG, and then that of the names."""

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(item.config.rootpath).as_posix()
        return next((index for index, start in enumerate(LONG) if path.startswith(start)), len(LONG))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def _runs_are_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command with --no-verify changes this for its whole process, in which other tests run too."""
    monkeypatch.setattr(Run, "verify", True)


@pytest.fixture(autouse=True)
def _random_networks_are_the_same_every_time() -> None:
    """Random weights, their answers, and the errors of their lower precisions are the same in every test run."""
    if "torch" in sys.modules:
        import torch

        torch.manual_seed(0)


@pytest.fixture(scope="session")
def luna_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """A run of each of LUNA's networks with its fp32 files."""
    torch = pytest.importorskip("torch")
    from medseg.export.chain import export
    from medseg.export.options import ExportOptions

    folder = tmp_path_factory.mktemp("runs")
    runs = []
    for seed, (name, options) in enumerate(SMALL.items()):
        torch.manual_seed(seed)
        network = network_named(name)
        run = Run.create(folder / name, name, options, {"kind": "test"})
        _save(network.build(**options), run.path / WEIGHTS)
        assert not export(run, network, ExportOptions(samples=2), lambda _: None)
        runs.append(Run(run.path))
    return runs


@pytest.fixture(scope="session")
def published_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """LUNA's two published networks, exported to FP16 and judged on the real CT; only for tests with `needs_shared`."""
    from medseg.export.chain import export
    from medseg.export.options import ExportOptions
    from medseg.train.weights import import_weights

    folder = tmp_path_factory.mktemp("published")
    runs = {}
    for name, pattern, samples in (("luna-segment", "seg_*", 2), ("luna-nodule", "cls_*", 8)):  # usually more
        network = network_named(name)
        run = import_weights(network, next((SHARED / "weights/luna").glob(pattern)), folder / name, {})
        wanted = ExportOptions(fp16=True, data=SHARED / "data/luna", samples=samples)
        assert not export(run, network, wanted, lambda _: None)
        runs[name] = Run(run.path)
    return runs


def _save(module: object, path: Path) -> None:
    import torch

    torch.save(module.state_dict(), path)  # type: ignore[attr-defined]
