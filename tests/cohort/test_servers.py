"""Several servers share the work: one that is away is left out and tried again, and no case is to blame for it."""

from dataclasses import replace
from pathlib import Path

import pytest

from medseg.cohort.batch import Rules
from medseg.cohort.case import DONE, Work
from medseg.cohort.ledger import Entry
from medseg.cohort.local import Local
from medseg.cohort.pools import Workers, check
from medseg.errors import InputError, ServerError
from tests.cohort.faulty import work
from tests.cohort.test_faults import carried_out, check_whole, written

PORTS = "4", "5"  # nobody listens there, so that who looks whether a server is there finds none


def test_a_server_that_is_away_is_left_out_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_TEST_AWAY", str(tmp_path))
    folder = written(tmp_path / "in", {f"case-{number:03}": "slow 0.2" for number in range(60)})
    away = {port: tmp_path / port for port in PORTS}
    away["4"].touch()
    heard: list[Entry] = []

    def listen(entry: Entry) -> None:
        heard.append(entry)
        if len(heard) == 10:
            away["4"].unlink()  # it is back
        if len(heard) == 30:
            away["5"].touch()  # and the other goes, with cases at hand

    def pool(one: Work) -> Local:
        named = [replace(one, url=f"http://127.0.0.1:{port}", opener="tests.cohort.faulty:served") for port in PORTS]
        return Local(named, patience_s=60)

    ledger = carried_out([folder], tmp_path / "out", pool, Rules(retry=0, heard=listen))
    assert all(one.status == DONE for one in ledger.entries.values()) and len(ledger.entries) == 60
    assert len({one.worker for one in heard}) >= 2
    check_whole(tmp_path / "out", ledger)
    away["4"].touch()
    with pytest.raises(ServerError, match="no server answered for 2 s; the last said"):
        carried_out(
            [written(folder, {"more": "good"})],
            tmp_path / "out",
            lambda one: Local([replace(one, url="http://127.0.0.1:4", opener="tests.cohort.faulty:served")], None, 2),
        )


def test_workers_that_contradict_each_other_are_refused() -> None:
    url, runs = ("http://127.0.0.1:4",), work(runs=("run",))
    for workers, asked, said in (
        (Workers(), work(), "got both or neither"),
        (Workers(urls=url), runs, "got both or neither"),
        (Workers(urls=url, gpus=1), work(), "--url and --gpus"),
        (Workers("auto", urls=url), work(), "--url and --address"),
        (Workers(workers=1, urls=url * 2), work(), "at least one for each of 2 --url"),
    ):
        with pytest.raises(InputError, match=said):
            check(workers, asked)


@pytest.mark.parametrize(("cores", "shares"), [(1, [1]), (3, [1, 1, 1]), (20, [3, 3, 3, 3, 2, 2, 2, 2])])
def test_pictures_share_the_cores_of_this_machine_among_workers(
    cores: int, shares: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    told = list(Workers()._works(replace(work(), task="stas")))
    assert [len(one.cores) or cores for one in told] == shares
    assert len({core for one in told for core in one.cores} or range(cores)) == cores
    assert [one.cores for one in Workers()._works(replace(work(), task="luna"))] == [()]
    assert len(list(Workers(workers=2)._works(replace(work(), task="stas")))) == 2
