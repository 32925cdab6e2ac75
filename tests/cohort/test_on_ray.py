"""Two nodes of a Ray cluster on this machine: what dies on it is made good, and a sweep is spread over it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from medseg.cohort.batch import Rules
from medseg.cohort.case import DONE, FAILED
from medseg.cohort.ledger import Entry
from medseg.cohort.on_ray import Actors
from medseg.errors import InputError
from tests.cohort.test_faults import carried_out, check_whole, written

ray = pytest.importorskip("ray")
TRIES = 3  # of a cluster to begin: a node is given 30 s, which a busy machine may take


class Nodes:
    """The cluster, and its second node, which a test may take away."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        quiet = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20}
        self.cluster = Cluster(initialize_head=True, head_node_args=quiet)
        self.second = self.cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
        self.address: str = self.cluster.address

    def lose_second(self) -> None:
        self.cluster.remove_node(self.second, allow_graceful=False)

    def again(self) -> None:
        self.second = self.cluster.add_node(num_cpus=1, object_store_memory=80 << 20)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # what else runs on this machine is none of the test's
        made: Any = None
        for last in range(TRIES):
            try:
                made = Nodes()
                break
            except Exception:
                if last == TRIES - 1:
                    raise
        yield made
        ray.shutdown()
        made.cluster.shutdown()


@pytest.mark.slow
def test_a_killed_worker_a_lost_node_and_bad_cases_lose_nothing(nodes: Nodes, tmp_path: Path) -> None:
    good = {f"good-{number:03}": "slow 0.05" for number in range(120)}
    bad = {"bad-refuse": "refuse", "bad-crash": "crash", "bad-hang": "hang"}
    folder = written(tmp_path / "in", good | bad)
    heard: list[Entry] = []

    def listen(entry: Entry) -> None:
        heard.append(entry)
        if len(heard) == 20:
            os.kill(int(entry.worker.rpartition(":")[2]), signal.SIGKILL)
        if len(heard) == 50:  # an actor, with what it has at hand
            running = psutil.process_iter(["cmdline"])
            actors = [one.pid for one in running if "ray::Hand" in " ".join(one.info["cmdline"] or ())]
            os.kill(actors[0], signal.SIGKILL)
        if len(heard) == 80:
            nodes.lose_second()

    ledger = carried_out(
        [folder],
        tmp_path / "out",
        lambda one: Actors(one, nodes.address, 2, 0, timeout_s=3),
        Rules(retry=1, heard=listen),
    )
    nodes.again()
    assert sorted(entry.case for entry in heard) == sorted(ledger.entries) == sorted(good | bad), "each is over once"
    assert {name for name, one in ledger.entries.items() if one.status == FAILED} == bad.keys()
    assert all(ledger.entries[name].status == DONE for name in good)
    check_whole(tmp_path / "out", ledger)


def test_an_address_without_a_cluster_is_one_sentence(tmp_path: Path) -> None:
    assert not ray.is_initialized() or ray.shutdown() is None
    folder = written(tmp_path / "in", {"a": "good"})
    for address in ("nonsense://x", "127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(InputError, match="no Ray cluster answers there"):
            carried_out([folder], tmp_path / "out", lambda one, where=address: Actors(one, where, 1, 0, None))


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_sweep_over_two_nodes_one_of_which_stops_has_the_table_of_an_undisturbed_one(
    nodes: Nodes, tmp_path: Path
) -> None:
    from medseg.cohort.fits import on_ray
    from medseg.tasks import task_named
    from medseg.train.sweep import grid_from, sweep

    task_named("brain-lgg").known_data("test").phantom(tmp_path / "data", 4, 0)
    more = ["--features=2", "--size=32", "--batch-size=8", "--epochs=3", "--loader=torch", "--workers=0"]
    grid = grid_from(["loss=dice,iou", "lr=0.001,0.01"])
    tables = []
    for name in ("calm", "stormy"):
        fits = on_ray(nodes.address, 1, 0)

        def watched(asked: Any, tell: Any, fits: Any = fits, name: str = name) -> Iterator[Any]:
            for number, one in enumerate(fits(asked, tell)):
                if name == "stormy" and not number:
                    nodes.lose_second()
                    nodes.again()
                yield one

        rows = sweep("brain-lgg", tmp_path / "data", tmp_path / name, grid, more, watched)
        tables.append([{key: value for key, value in row.items() if key != "seconds"} for row in rows])
    assert tables[0] == tables[1] and len(tables[0]) == 4
    assert (tmp_path / "stormy/sweep.csv").read_text() == (tmp_path / "calm/sweep.csv").read_text()
