"""Runs that several tests share: LUNA's networks, small and with random weights, exported once a session."""

import signal
from pathlib import Path

import pytest

from medseg.run import WEIGHTS, Run
from medseg.tasks import network_named
from tests.ending import pytest_terminal_summary as pytest_terminal_summary  # the hook that pytest finds here

SMALL = {
    "luna-segment": {"context": 3, "features": 4, "depth": 3},
    "luna-nodule": {"features": 2},
    "luna-malignancy": {"features": 2},
}

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background, and inherited by what tests start
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def luna_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """A run of each of LUNA's networks with its fp32 files."""
    torch = pytest.importorskip("torch")
    from medseg.export.chain import Wanted, export

    folder = tmp_path_factory.mktemp("runs")
    runs = []
    for seed, (name, options) in enumerate(SMALL.items()):
        torch.manual_seed(seed)
        network = network_named(name)
        run = Run.create(folder / name, name, options, {"kind": "test"})
        _save(network.build(**options), run.path / WEIGHTS)
        assert not export(run, network, Wanted(samples=2), lambda _: None)
        runs.append(Run(run.path))
    return runs


def _save(module: object, path: Path) -> None:
    import torch

    torch.save(module.state_dict(), path)  # type: ignore[attr-defined]
