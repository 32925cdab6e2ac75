"""A cohort in an object store, by the command itself: an S3 bucket of moto's server, a Google bucket of an emulator."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from benchmarks.ports import free_port
from medseg.cohort.case import DONE, FAILED
from medseg.cohort.ledger import read_ledger
from medseg.cohort.remote import fetched
from medseg.run import Run
from medseg.tasks import task_named
from tests.bench.runs import bright_run

BUCKET = "cohort"
TASK = task_named("gi-tract")


@dataclass
class Store:
    """A bucket: its address, the file system that opens it, and what tells a process where it is."""

    url: str
    files: Any
    environment: dict[str, str]

    def texts(self) -> dict[str, bytes]:
        """Everything in the bucket, by its path in it."""
        self.files.invalidate_cache()
        return {path.removeprefix(f"{BUCKET}/"): self.files.cat_file(path) for path in self.files.find(BUCKET)}


@contextmanager
def _s3() -> Iterator[dict[str, str]]:
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        urlopen(Request(f"{url}/moto-api/reset", method="POST")).close()  # buckets outlive their server
        credentials = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
        yield credentials | {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1"}
    finally:
        server.stop()


@contextmanager
def _gs() -> Iterator[dict[str, str]]:
    pytest.importorskip("gcsfs")
    port = free_port()
    server = pytest.importorskip("gcp_storage_emulator.server").create_server("127.0.0.1", port, in_memory=True)
    server.start()
    try:
        # gcsfs would first ask by gRPC of what kind a bucket is, which the emulator does not speak
        yield {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}
    finally:
        server.stop()


@pytest.fixture(params=[_s3, _gs], ids=["s3", "gs"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    fsspec, scheme = pytest.importorskip("fsspec"), request.param.__name__.strip("_")
    with request.param() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        files = fsspec.filesystem(scheme, skip_instance_cache=True)
        files.mkdir(BUCKET)
        yield Store(f"{scheme}://{BUCKET}", files, environment)
        fsspec.get_filesystem_class(scheme).clear_instance_cache()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return bright_run(tmp_path / "run", TASK.networks[0])


Batch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def medseg_batch(run: Run, store: Store) -> Batch:
    def called(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "medseg", "batch", TASK.name, *map(str, words), f"--run={run.path}"]
        return subprocess.run(command, env=os.environ | store.environment, capture_output=True, text=True)

    return called


def test_a_cohort_comes_from_a_bucket_and_its_answers_go_there(
    store: Store, medseg_batch: Batch, tmp_path: Path
) -> None:
    TASK.known_data("test").phantom(tmp_path / "data", 1, 0)
    (tmp_path / "in").mkdir()
    for one in sorted((tmp_path / "data").rglob("*.png"))[:3]:
        one.rename(tmp_path / "in" / one.name)
        store.files.put_file(str(tmp_path / "in" / one.name), f"{BUCKET}/in/{one.name}")
    inputs, ledger = (f"{store.url}/in/*.png", f"{store.url}/in/none.png"), tmp_path / "ledger"
    words = (*inputs, f"--out={store.url}/out", f"--ledger={ledger}")
    said = medseg_batch(*words)
    assert said.returncode == 1 and "1 failed" in said.stdout + said.stderr and "Traceback" not in said.stderr
    entries = read_ledger(ledger / "manifest.jsonl").entries
    assert {name: one.status for name, one in entries.items()} == {
        **{one.stem: DONE for one in (tmp_path / "in").iterdir()},
        "none": FAILED,
    }
    assert "none.png is not there; expected a file" in entries["none"].error
    assert medseg_batch(tmp_path / "in", "--out", tmp_path / "here").returncode == 0
    here = {
        str(path.relative_to(tmp_path / "here")): path.read_bytes()
        for path in sorted((tmp_path / "here/answers").rglob("*"))
        if path.is_file()
    }
    there = {name.removeprefix("out/"): text for name, text in store.texts().items() if "answers/" in name}
    assert there == here and len(there) >= 3
    assert store.texts()["out/manifest.jsonl"] == (ledger / "manifest.jsonl").read_bytes()
    medseg_batch(*words)  # what is done stays
    again = read_ledger(ledger / "manifest.jsonl").entries
    assert {name: one for name, one in again.items() if name != "none"} == {
        name: one for name, one in entries.items() if name != "none"
    }


def test_a_mistyped_bucket_is_one_sentence_and_is_not_made(store: Store, medseg_batch: Batch, tmp_path: Path) -> None:
    TASK.known_data("test").phantom(tmp_path / "data", 1, 0)
    one, wrong = next((tmp_path / "data").rglob("*.png")), store.url.replace(BUCKET, "mistyped")
    said = medseg_batch(one, f"--out={wrong}/out", f"--ledger={tmp_path / 'l'}", "--retry=0")
    assert said.returncode == 1 and "Traceback" not in said.stderr
    assert re.search("mistyped.* (is not there|cannot be reached)", said.stdout + said.stderr)
    store.files.invalidate_cache()
    assert [name.rstrip("/") for name in store.files.ls("")] == [BUCKET]


def test_a_header_brings_its_pixels_and_a_folder_all_its_files(store: Store, tmp_path: Path) -> None:
    names = ("ct/one.mhd", "ct/one.raw", "ct/other.mhd", "series/a.dcm", "series/deep/b.dcm")
    store.files.pipe({f"{BUCKET}/{name}": name.encode() for name in names})
    (tmp_path / "header").mkdir()
    assert fetched(f"{store.url}/ct/one.mhd", tmp_path / "header").read_bytes() == b"ct/one.mhd"
    assert sorted(path.name for path in (tmp_path / "header").iterdir()) == ["one.mhd", "one.raw"]
    folder = fetched(f"{store.url}/series/", tmp_path)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.dcm")} == {"a.dcm", "deep/b.dcm"}
