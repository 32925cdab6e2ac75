"""The kit for GPUs: every tier rehearsed on the CPU, whatever ends one, and what machines without network are sent."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
from benchmarks.gpu import page, tiers
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.carried import groups
from benchmarks.gpu.carried.parts import pack, unpack
from benchmarks.gpu.carried.stubs import wanted
from benchmarks.gpu.plan_here import counted
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.sheet import Item, Result, Sheet, ShortError, read
from medseg.engines import gpu
from medseg.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_tier_is_rehearsed_on_the_cpu(tmp_path):
    for needed in ("pytriton", "tensorrt_rtx", "nvidia.dali"):
        pytest.importorskip(needed)
    page_before = page.PAGE.read_text()
    command = [sys.executable, "-m", "benchmarks.gpu", "--rehearse", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    results = [read(tmp_path / f"{tier.name}.json") for tier in tiers.TIERS]
    assert not [(one.tier, item) for one in results for item in one.items if item.problem], done.stderr
    assert {one.state for one in results} == {"done"} and done.returncode == 0, done.stderr
    assert all(one.rehearsal and one.items for one in results)
    short = {(one.tier, item.name) for one in results for item in one.items if item.short}
    assert short == {("facts", "tests marked gpu"), ("plans", "luna-nodule, tensorrt-rtx fp16")}
    assert page.PAGE.read_text() == page_before, "a rehearsal's numbers are no results"


@pytest.mark.parametrize(
    ("kind", "state", "items"),
    [("ends", "done", 3), ("raises", "failed", 1), ("dies", "failed", 1), ("hangs", "stopped", None)],
)
def test_however_a_tier_ends_its_result_is_there_and_the_next_one_runs(tmp_path, monkeypatch, kind, state, items):
    monkeypatch.setattr(tiers, "HEAVY", [])
    limit_s = 3 if kind == "hangs" else 200
    two = [tiers.Tier(name, "for a test", "tests.benchmarks.kinds_of_tiers", limit_s) for name in ("one", "two")]
    setting = Setting(tmp_path, tmp_path / kind, rehearsal=True)
    one, two = tiers.run_all(setting, two)
    assert (one.state, two.state) == (state, state)
    assert read(tmp_path / "one.json") == one
    if items:
        assert [item.name for item in one.items] == ["first", "fails", "last"][:items]
    if kind == "ends":
        assert one.items[1].problem == "IndexError: pop from empty list"
    if kind == "hangs":
        assert one.problem == "not done in 3 s"


@pytest.mark.parametrize("words", [[], ["--only", "facts"]])
def test_without_a_gpu_one_sentence_says_what_is_missing(monkeypatch, capsys, tmp_path, words):
    monkeypatch.setattr(gpu, "_library", lambda: None)
    assert main([*words, "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "there is no NVIDIA driver here, and so no GPU; expected a machine with both, for make gpu"
    ]
    assert not (tmp_path / "out").exists()


def test_what_an_item_could_not_reach_is_told_apart_from_what_failed(tmp_path):
    def short():
        raise ShortError("needs a GPU", {"built": 1})

    sheet = Sheet(tmp_path / "tier.json", Result("tier", "A tier", True))
    assert sheet.item("short", short) == {"built": 1}
    assert sheet.item("fails", lambda: (_ for _ in ()).throw(InputError("no such file: bring it"))) == {}
    held = read(tmp_path / "tier.json")  # before the tier has ended
    assert held.state == "running"
    assert [(item.facts, item.short, item.problem) for item in held.items] == [
        ({"built": 1}, "needs a GPU", ""),
        ({}, "", "no such file: bring it"),
    ]


def _files(folder):
    random.seed(0)
    (folder / "a/b").mkdir(parents=True)
    (folder / "a/noise").write_bytes(random.randbytes(150_000))  # which no packing makes smaller
    (folder / "a/b/plain").write_bytes(b"0" * 400_000)
    (folder / "a/b/empty").touch()
    (folder / "program").write_text("#!/bin/sh\n")
    (folder / "program").chmod(0o755)
    (folder / "a/link").symlink_to("b/plain")


@pytest.mark.parametrize("limit", [30_000, 2**20])
def test_a_folder_comes_back_from_its_parts(tmp_path, limit):
    _files(tmp_path / "from")
    parts = pack(tmp_path / "from", tmp_path / "parts", "kit", limit)
    assert all(part.stat().st_size <= limit for part in parts)
    assert (len(parts) == 1) == (limit == 2**20)
    assert pack(tmp_path / "from", tmp_path / "again", "kit", limit) != parts
    same = [part.read_bytes() for part in sorted((tmp_path / "again").glob("*.xz"))]
    assert same == [part.read_bytes() for part in parts], "the same files make the same parts"
    unpack(tmp_path / "parts/kit.json", tmp_path / "to")
    compared = subprocess.run(["diff", "-r", tmp_path / "from", tmp_path / "to"], capture_output=True)
    assert compared.returncode == 0, compared.stdout
    assert os.access(tmp_path / "to/program", os.X_OK) and (tmp_path / "to/a/link").is_symlink()


@pytest.mark.parametrize("harm", ["changed", "missing"])
def test_a_part_that_did_not_arrive_whole_is_named(tmp_path, harm):
    _files(tmp_path / "from")
    *_, last = pack(tmp_path / "from", tmp_path, "kit", 60_000)
    last.unlink() if harm == "missing" else last.write_bytes(last.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError, match=rf"{last.name} is {harm}; expected \d+ bytes with sha256"):
        unpack(tmp_path / "kit.json", tmp_path / "to")
    assert not (tmp_path / "to").exists()


def test_parts_that_are_too_small_to_hold_anything_are_refused(tmp_path):
    _files(tmp_path / "from")
    with pytest.raises(InputError, match="a part of 100 bytes holds nothing"):
        pack(tmp_path / "from", tmp_path / "parts", "kit", 100)


def test_groups_are_packed_and_unpacked_by_the_command(tmp_path, monkeypatch, capsys):
    made = groups.Group("made up", more=lambda to: _files(to.folder / "site"))
    monkeypatch.setitem(groups.GROUPS, "luna", made)
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"purelib": str(tmp_path)})
    assert main(["pack", "--out", str(tmp_path / "kit"), "--part-mib", "1", "--only", "luna"]) == 0
    assert "luna: made up; 1 parts of 0.1 MiB" in capsys.readouterr().out
    assert main(["unpack", str(tmp_path / "kit"), "--to", str(tmp_path / "there")]) == 0
    assert (tmp_path / "there/luna/site/a/noise").is_file()
    (pth,) = tmp_path.glob("*.pth")
    assert pth.read_text() == f"{tmp_path}/there/luna/site\n"


def test_packages_travel_in_the_versions_that_are_tested():
    torch, old, unknown = groups.pinned(["numpy", "tensorrt==8.5.3.1", "no-such-package"])
    assert torch.startswith("numpy==2") and (old, unknown) == ("tensorrt==8.5.3.1", "no-such-package")


def test_stand_ins_are_made_for_the_versioned_names_of_cublas_and_cudnn_alone():
    listing = """
                 U cublasCreate_v2@libcublas.so.11
                 U cudnnCreate@libcudnn.so.8
                 U cudnnDestroy@libcudnn.so.8
                 U memcpy@GLIBC_2.14
                 w __cxa_finalize"""
    assert wanted(listing) == {"libcublas.so.11": ["cublasCreate_v2"], "libcudnn.so.8": ["cudnnCreate", "cudnnDestroy"]}


def test_layers_are_counted_by_what_they_write():
    half, single = "Row major linear FP16 format", "Row major linear FP32"
    layers = [
        {"Name": "conv", "Outputs": [{"Name": "x", "Format/Datatype": half}]},
        {"Name": "pool", "Outputs": [{"Name": "y", "Datatype": "Half"}]},
        {"Name": "cast", "Outputs": [{"Name": "z", "Format/Datatype": single}]},
        {"Name": "shape", "Outputs": [{"Name": "n", "Format/Datatype": "Int64"}]},
        {"Name": "nothing", "Outputs": []},
        "a name alone, where the library keeps no more",
    ]
    assert counted(layers) == {"layers_fp16": 2, "layers_fp32": 1}


def test_the_page_shows_results_of_gpus_and_nothing_of_rehearsals(tmp_path):
    there = tmp_path / "gpu.md"
    there.write_text(f"# Before\n\n{page.START}\nold\n{page.END}\n\nafter\n")
    items = (
        Item("gi-tract, FP32", 1.0, {"ms": 12.3456789, "peak": None}),
        Item("gi-tract, AMP", 1.0, {"ms": 4.0, "peak": 5}),
        Item("stas", 0.1, problem="out of memory"),
    )
    real = Result("precisions", "Networks", False, "sm90", "stopped", "not done in 180 s", 180.0, items)
    page.put([real, Result("dali", "Rehearsed", True)], there)
    text = there.read_text()
    assert text.startswith("# Before") and text.endswith("after\n") and "old" not in text and "Rehearsed" not in text
    assert "On sm90; stopped in 180 s: not done in 180 s." in text
    assert "| gi-tract, FP32 | 12.3457 | - |" in text and "stas: not reached, out of memory." in text
    page.put([], there)
    assert page.NOT_YET in there.read_text()


def test_results_that_are_brought_here_become_tables(tmp_path, monkeypatch):
    there = tmp_path / "gpu.md"
    there.write_text(f"{page.START}\n{page.END}\n")
    monkeypatch.setattr(page, "PAGE", there)
    facts = Result("facts", "Device", False, "sm90", "done", items=(Item("device", 0.0, {"GPU": "H100"}),))
    tiers.write(tmp_path / "facts.json", facts)
    assert json.loads((tmp_path / "facts.json").read_text())["gpu"] == "sm90"
    assert main(["tables", str(tmp_path)]) == 0
    assert "| GPU | H100 |" in there.read_text()
