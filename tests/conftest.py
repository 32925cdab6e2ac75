"""Runs that several tests share, exported once a session: LUNA's networks, small and random, or as published."""

import os
import signal
import sys
from pathlib import Path

import pytest

from medseg.run import WEIGHTS, Run
from medseg.tasks import network_named
from tests.ending import pytest_terminal_summary as pytest_terminal_summary  # the hook that pytest finds here
from tests.shared import SHARED

SMALL = {
    "luna-segment": {"context": 3, "features": 4, "depth": 3},
    "luna-nodule": {"features": 2},
    "luna-malignancy": {"features": 2},
}

# Threads that wait for each other sleep instead of spinning: beside other work a fit is up to five times as fast. Torch
# reads it when it is first imported, here and in what tests start.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background, and inherited by what tests start
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _runs_are_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command with --no-verify changes this for its process, and here the process is that of other tests too."""
    monkeypatch.setattr(Run, "verify", True)


@pytest.fixture(autouse=True)
def _random_networks_are_the_same_every_time() -> None:
    """What a network of random weights answers, and how far its lower precisions are from it, is no matter of luck."""
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
    """LUNA's two published networks, exported to FP16 and judged on the real CT: with `needs_shared` alone."""
    from medseg.export.chain import export
    from medseg.export.options import ExportOptions
    from medseg.train.weights import import_weights

    folder = tmp_path_factory.mktemp("published")
    runs = {}
    for name, pattern, samples in (("luna-segment", "seg_*", 2), ("luna-nodule", "cls_*", 8)):  # an export takes more
        network = network_named(name)
        run = import_weights(network, next((SHARED / "weights/luna").glob(pattern)), folder / name, {})
        wanted = ExportOptions(fp16=True, data=SHARED / "data/luna", samples=samples)
        assert not export(run, network, wanted, lambda _: None)
        runs[name] = Run(run.path)
    return runs


def _save(module: object, path: Path) -> None:
    import torch

    torch.save(module.state_dict(), path)  # type: ignore[attr-defined]
