"""A cohort's cases, names, parts and ledger: goes on where it was left, and says what became of each case."""

import csv
import http.server
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest

from medseg.cohort.batch import Rules, batch
from medseg.cohort.case import DONE, FAILED, SKIPPED, Work
from medseg.cohort.command import where
from medseg.cohort.inputs import items
from medseg.cohort.ledger import Ledger, read_ledger
from medseg.cohort.shards import Shard, merge, shard_from
from medseg.errors import InputError, MedsegError, RunError, ServerError
from medseg.task import Reading
from tests.cohort.faulty import TASK, Inline, work
from tests.cohort.test_faults import HOW, carried_out, check_whole, written


def statuses(ledger: Ledger) -> dict[str, str]:
    return {name: entry.status for name, entry in ledger.entries.items()}


def test_what_is_done_stays_what_failed_is_tried_again_and_what_changed_is_asked_anew(tmp_path: Path) -> None:
    folder, out = written(tmp_path / "in", {"a": "good", "b": "raise", "c": "good"}), tmp_path / "out"
    before = carried_out([folder], out, Inline)
    assert statuses(before) == {"a": DONE, "b": FAILED, "c": DONE}
    written(folder, {"b": "mended", "c": "another"})
    after = carried_out([folder], out, Inline)
    assert statuses(after) == dict.fromkeys("abc", DONE)
    assert after.entries["a"] == before.entries["a"] and after.entries["c"] != before.entries["c"]
    assert (out / "answers/c/c.out").read_bytes() == b"another"
    assert len(after.sessions) == 2
    (out / "answers/a/a.out").unlink()
    (out / "answers/a/answer.npz").unlink()
    (out / "answers/a").rmdir()  # as a person removes an answer
    check_whole(out, carried_out([folder], out, Inline))
    (folder / "a.txt").unlink()  # what is done needs its input no more
    assert statuses(carried_out([folder], out, Inline)) == dict.fromkeys("abc", DONE)


def test_a_ledger_that_was_begun_in_another_way_is_refused_until_restarted(tmp_path: Path) -> None:
    folder, out = written(tmp_path / "in", {"a": "good"}), tmp_path / "out"
    carried_out([folder], out, Inline)
    for name, value in {"medseg": "0.0.1", "precision": "int8", "runs": [{"network": "x", "sha256": "1"}]}.items():
        other = HOW | {name: value}
        with pytest.raises(RunError, match=rf"was begun with other .*{name}.*--restart"):
            batch(TASK, [str(folder)], out, (work(), other), Inline, Rules())
    written(folder, {"b": "good"})
    (folder / "a.txt").unlink()

    def pool(one: Work) -> Inline:
        return Inline(replace(one, expected=None))

    ledger = batch(TASK, [str(folder)], out, (work(), HOW | {"precision": "int8"}), pool, Rules(restart=True))
    assert statuses(ledger) == {"b": DONE} and ledger.how["precision"] == "int8"
    check_whole(out, ledger)


def test_a_ledger_that_is_cut_anywhere_is_read_up_to_there_and_gone_on_with(tmp_path: Path) -> None:
    folder, out = written(tmp_path / "in", dict.fromkeys("abc", "good")), tmp_path / "out"
    whole = carried_out([folder], out, Inline)
    path = out / "manifest.jsonl"
    text = path.read_bytes()
    for length in range(0, len(text), 97):
        path.write_bytes(text[:length])
        assert len(read_ledger(path).entries) == max(0, text[:length].count(b"\n") - 2)
    path.write_bytes(text[: text.rindex(b'"case"') + 30])
    assert carried_out([folder], out, Inline).entries.keys() == whole.entries.keys()
    path.write_bytes(text.replace(b'"status":"done"', b'"status":"gone"', 1))
    with pytest.raises(RunError, match=r"line 3.*status is 'gone'.*--restart"):
        carried_out([folder], out, Inline)


def test_names_never_collide_and_stay_when_the_archive_grows(tmp_path: Path) -> None:
    for place in ("x/1", "y/1", "y/2"):
        written(tmp_path / "in" / place, {"ct": place})
    out = tmp_path / "out"
    first = carried_out([tmp_path / "in/x"], out, Inline)
    assert list(first.entries) == ["ct"]
    grown = carried_out([tmp_path / "in", tmp_path / "in/x", tmp_path / "in/x/1/ct.txt"], out, Inline)
    assert len(grown.entries) == 5 and list(statuses(grown).values()).count(SKIPPED) == 2
    assert grown.entries["ct"].input.endswith("x/1/ct.txt")
    answers = {(out / path).read_text() for one in grown.entries.values() for path in one.files if ".out" in path}
    assert answers == {"x/1", "y/1", "y/2"}
    check_whole(out, grown)
    new = items(TASK, [str(tmp_path / "in")], Reading(), {(first.entries["ct"].input, "ct"): "y_1_ct"})
    assert len({one.name.casefold() for one in new}) == 3, "a new case does not take an old one's name"


def test_parts_together_are_the_whole_and_their_ledgers_are_joined(tmp_path: Path) -> None:
    folder = written(tmp_path / "in", {f"case-{number}": "good" for number in range(20)} | {"bad": "raise"})
    out, count = tmp_path / "out", 3
    with pytest.raises(InputError, match="no ledgers of shards"):
        merge(tmp_path)
    for number in (1, 3):
        carried_out([folder], out, Inline, Rules(0, Shard(number, count)))
    with pytest.raises(RunError, match="lacks 2 of 3"):
        merge(out)
    with pytest.raises(RunError, match="with other parts"):
        carried_out([folder], out, Inline, Rules(0, Shard(1, 2)))
    with pytest.raises(RunError, match="with other parts"):
        carried_out([folder], out, Inline)
    carried_out([folder], out, Inline, Rules(0, Shard(2, count)))
    joined, alone = merge(out), carried_out([folder], tmp_path / "alone", Inline)
    assert statuses(joined) == statuses(alone) and len(joined.sessions) == 3
    check_whole(out, joined)
    for words in ("0/3", "4/3", "1", "a/b", "1/0", "-1/3"):
        with pytest.raises(InputError, match="--shard is"):
            shard_from(words)


def test_lists_patterns_and_folders_name_the_same_cases(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import Table, parquet

    folder = written(tmp_path / "in", dict.fromkeys("abc", "good"))
    paths = sorted(str(one.relative_to(tmp_path)) for one in folder.glob("*.txt"))
    with (tmp_path / "list.csv").open("w") as file:
        csv.writer(file).writerows([["patient", "input"], *((number, path) for number, path in enumerate(paths))])
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps({"input": path}) for path in paths) + "\n\n")
    parquet.write_table(Table.from_pydict({"input": paths}), tmp_path / "list.parquet")
    (tmp_path / "all.csv").write_text("input\nin\n")  # a folder in a list is searched
    known = [asdict(one) for one in items(TASK, [str(folder)], Reading(), {})]
    for word in ("list.csv", "list.jsonl", "list.parquet", "all.csv", "in/*.txt", "**/*.txt"):
        assert [asdict(one) for one in items(TASK, [str(tmp_path / word)], Reading(), {})] == known, word
    for name, text in {
        "a.csv": "x\n1\n",
        "b.csv": "input\n",
        "c.jsonl": "{}",
        "d.jsonl": "no",
        "e.parquet": "no",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=name):
            items(TASK, [str(tmp_path / name)], Reading(), {})


def test_an_input_that_is_not_there_fails_and_stops_no_other(tmp_path: Path) -> None:
    folder = written(tmp_path / "in", {"a": "good"})
    ledger = carried_out([tmp_path / "none", folder, tmp_path / "*.none"], tmp_path / "out", Inline)
    assert sorted(statuses(ledger).values()) == [DONE, FAILED, FAILED]
    assert "none holds no .txt files" in ledger.entries["none"].error


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address that it is served under."""
    folder = written(tmp_path / "served", {"a": "good a", "b": "good b"})
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_remote_inputs_are_fetched_and_answers_sent(served: tuple[Path, str], tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    folder, url = served
    memory = fsspec.filesystem("memory")
    memory.pipe({"/bucket/in/c.txt": b"good c", "/bucket/in/d.txt": b"refuse"})
    words = [f"{url}/a.txt", f"{url}/b.txt?version=1", f"{url}/none.txt", "memory://bucket/in/*.txt", f"{folder}/a.txt"]
    out = tmp_path / "out"
    upload = where("memory://bucket/out", out).url
    ledger = batch(TASK, words, out, (work(upload=upload), HOW), Inline, Rules(retry=0))
    done = {name for name, status in statuses(ledger).items() if status == DONE}
    assert len(done) == 4 and ledger.entries["c"].status == DONE
    assert memory.cat("/bucket/out/answers/c/c.out") == b"good c"
    listed = {f"/bucket/out/{path}" for one in ledger.entries.values() for path in one.files}
    assert set(memory.find("/bucket/out")) == listed
    (missing,) = (one for one in ledger.entries.values() if "none.txt" in one.input)
    assert "is not there; expected a file" in missing.error
    assert not list((out / "answers").iterdir())
    again = batch(TASK, words, out, (work(upload=upload), HOW), Inline, Rules(retry=0))
    assert {name: again.entries[name] for name in done} == {name: ledger.entries[name] for name in done}


@pytest.mark.parametrize("raised", [RuntimeError("down"), ConnectionRefusedError(111, "down"), TimeoutError("down")])
def test_a_store_that_cannot_be_reached_is_one_sentence(raised: Exception, tmp_path: Path) -> None:
    """Whatever its library raises; and it may answer later, so the case is tried again."""
    fsspec = pytest.importorskip("fsspec")

    class Down(fsspec.AbstractFileSystem):
        protocol = "down"

        def _raise(self, *_words: object, **_more: object) -> None:
            raise raised

        glob = get_file = put_file = makedirs = _raise

    fsspec.register_implementation("down", Down, clobber=True)
    said = f"cannot be reached ({type(raised).__name__}: "
    ledger = batch(TASK, ["down://x/y.txt"], tmp_path / "out", (work(), HOW), Inline, Rules(retry=1))
    (entry,) = ledger.entries.values()
    assert said in entry.error and entry.attempts == 2
    with pytest.raises(ServerError, match=re.escape(said)):
        items(TASK, ["down://x/*.txt"], Reading(), {})
    folder = written(tmp_path / "in", {"a": "good"})
    upload = where("down://x/out", tmp_path / "sent").url
    ledger = batch(TASK, [str(folder)], tmp_path / "sent", (work(upload=upload), HOW), Inline, Rules(retry=0))
    assert statuses(ledger) == {"a": FAILED} and said in ledger.entries["a"].error


def test_an_address_needs_a_folder_for_its_ledger(tmp_path: Path) -> None:
    for out, ledger in (("s3://bucket/out", None), (str(tmp_path), tmp_path)):
        with pytest.raises(InputError, match="--ledger"):
            where(out, ledger)


@pytest.mark.parametrize("word", ["nothing://x/y.txt", "memory://none/*.txt"])
def test_an_address_that_nobody_opens_is_one_sentence(word: str, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    try:
        ledger = batch(TASK, [word], tmp_path, (work(), HOW), Inline, Rules(retry=0))
        assert word in next(iter(ledger.entries.values())).error
    except MedsegError as error:
        assert word in str(error)
