"""A checkpoint is read without running its code, wherever the weights lie in it."""

import argparse
import collections
import datetime
import pathlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from medseg.models.checkpoint import read_weights
from tests.models.saved import AVERAGE, STATE, refused, same, saved, small, under

PREFIXES = [
    "module.",
    "_orig_mod.",
    "model.",
    "net.",
    "network.",
    "_forward_module.",
    "segmentor.unet3.",
    "module._orig_mod.model.",
]


@pytest.mark.parametrize("prefix", ["", *PREFIXES])
@pytest.mark.parametrize("wrapper", [None, "model_state", "state_dict", "model_state_dict", "model", "network_weights"])
def test_a_prefix_is_no_difference(tmp_path, prefix, wrapper):
    content = {wrapper: under(prefix), "epoch": 3} if wrapper else under(prefix)
    found = read_weights(saved(tmp_path, content), STATE)
    assert same(found.state) and found.prefix == prefix and not found.wrappers and not found.beside


@pytest.mark.parametrize(
    ("state", "wrappers"),
    [
        ({key.replace("unet.", "unet._orig_mod."): value for key, value in STATE.items()}, ("_orig_mod",)),
        ({("module." * ("unet" in key)) + key: value for key, value in STATE.items()}, ("module",)),
        ({f"m.{key.replace('.', '.w.', 1)}": value for key, value in STATE.items()}, ("w",)),
        ({f"{key.replace('unet.', 'unet.a.b.c.')}": value for key, value in STATE.items()}, ("a", "b", "c")),
    ],
)
def test_wrappers_of_parts_are_no_difference(tmp_path, state, wrappers):
    found = read_weights(saved(tmp_path, state), STATE)
    assert same(found.state) and found.wrappers == wrappers


def test_what_wraps_in_torch_is_no_difference(tmp_path):
    for module in (nn.DataParallel(small()), AveragedModel(small())):
        found = read_weights(saved(tmp_path, module.state_dict()), STATE)
        assert same(found.state) and found.prefix == "module."
    assert found.beside == ("n_averaged",) and found.averaged


def test_lightnings_losses_and_metrics_lie_beside(tmp_path):
    others = {
        "loss.weight": torch.ones(2),
        "val_metrics.dice.total": torch.ones(1),
        "criterion.vgg.0.weight": torch.ones(1),
    }
    optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    content = {"state_dict": under("net.") | others, "optimizer_states": [optimizer], "loops": {"epoch": 3}}
    found = read_weights(saved(tmp_path, content), STATE)
    assert same(found.state) and set(found.beside) == set(others)
    bare = read_weights(saved(tmp_path, {"state_dict": dict(STATE) | others}), STATE)
    assert same(bare.state) and set(bare.beside) == set(others)


def test_parts_saved_one_by_one_are_one_network(tmp_path):
    parts = {"input_norm": small()["input_norm"].state_dict(), "unet": small()["unet"].state_dict()}
    assert same(read_weights(saved(tmp_path, parts | {"last": small()["last"].state_dict()}), STATE).state)


AVERAGES = [
    {"state_dict": STATE, "state_dict_ema": AVERAGE},
    {"model": STATE, "ema": AVERAGE},
    {"model": under("module."), "model_ema": under("module.", AVERAGE)},
    {"state_dict": under("model.") | under("ema_model.", AVERAGE)},
    {"state_dict": under("model.") | under("modelEMA.", AVERAGE)},
    {**STATE, "ema_state_dict": AVERAGE},
    {"state_dict": STATE, "callbacks": {"EMA": {"ema_weights": AVERAGE}}},
    {"model": STATE, "averaged": under("module.", AVERAGE) | {"n_averaged": torch.tensor(3)}},
    {"student": under("net."), "teacher": under("net.", AVERAGE)},
]


@pytest.mark.parametrize("content", AVERAGES)
def test_averaged_weights_beside_are_chosen(tmp_path, content):
    file = saved(tmp_path, content)
    assert "2 sets of weights that differ" in refused(file)
    plain, average = read_weights(file, STATE, "plain"), read_weights(file, STATE, "ema")
    assert same(plain.state) and same(average.state, AVERAGE) and plain.among_others
    assert same(read_weights(file, STATE, average.name).state, AVERAGE)
    assert plain.name in refused(file) and average.name in refused(file)
    assert "has no weights 'other'" in refused(file, "other")


@pytest.mark.parametrize(
    "content", [{"state_dict": STATE, "state_dict_ema": dict(STATE)}, {"best": STATE, "ema": dict(STATE)}]
)
def test_sets_that_are_equal_need_no_choice(tmp_path, content):
    assert same(read_weights(saved(tmp_path, content), STATE).state)


@pytest.mark.parametrize(
    "content", [{"best": STATE, "last": AVERAGE}, [STATE, AVERAGE], {"fold0": STATE, "fold1": AVERAGE}]
)
def test_other_sets_are_chosen_by_their_names(tmp_path, content):
    file = saved(tmp_path, content)
    names = list(content) if isinstance(content, dict) else ["0", "1"]
    assert f"{names[0]} and {names[1]}" in refused(file)
    assert same(read_weights(file, STATE, names[1]).state, AVERAGE)


@pytest.mark.parametrize(
    "average",
    [
        {"ema": {"decay": 0.9, "shadow_params": [value for key, value in AVERAGE.items() if "running" not in key]}},
        {f"model_ema.{key.replace('.', '')}": value for key, value in AVERAGE.items()},
        {f"ema_{key.replace('.', '_')}": value for key, value in AVERAGE.items()},
    ],
)
def test_an_average_under_other_names_is_told(tmp_path, average):
    file = saved(tmp_path, {**STATE, **average})
    assert "2 sets of weights that differ" in refused(file)
    assert same(read_weights(file, STATE, "plain").state)
    assert "lack the network's names" in refused(file, "ema")


def test_a_choice_that_is_not_there_is_refused(tmp_path):
    assert "has no weights 'ema'; it has state_dict" in refused(saved(tmp_path, {"state_dict": STATE}), "ema")
    assert "has no weights 'plain'; it has ema" in refused(saved(tmp_path, {"ema": STATE}), "plain")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "beside",
    [
        {"best": np.float64(0.5), "n": np.int64(3), "b": np.bool_(True), "h": np.float32(1)},
        {"history": np.arange(3.0), "names": np.array(["a", "b"])},
        {"args": argparse.Namespace(lr=0.1, path=pathlib.Path("/a"), best=np.float64(1))},
        {
            "logs": collections.defaultdict(list, {"loss": [1.0]}),
            "when": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
        },
        {"counts": collections.Counter("aab"), "order": collections.OrderedDict(a=1)},
    ],
)
def test_numbers_and_settings_beside_the_weights_are_no_obstacle(tmp_path, beside, legacy):
    file = saved(tmp_path, {"model": STATE, **beside}, _use_new_zipfile_serialization=not legacy)
    assert same(read_weights(file, STATE).state)


def test_numpy_1_wrote_other_names(tmp_path):
    file = saved(tmp_path, {"model": STATE, "best": np.float64(0.5)}, _use_new_zipfile_serialization=False)
    file.write_bytes(file.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert same(read_weights(file, STATE).state)


def test_weights_as_arrays_are_taken(tmp_path):
    assert same(read_weights(saved(tmp_path, {key: value.numpy() for key, value in STATE.items()}), STATE).state)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
def test_safetensors_are_read_whatever_their_name(tmp_path, name):
    save_file(under("module."), tmp_path / name)
    assert same(read_weights(tmp_path / name, STATE).state)
