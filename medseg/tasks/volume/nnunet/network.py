"""nnU-Net's networks, built from the plans by dynamic_network_architectures and loaded strictly: no name is guessed.

Only this file needs the package. A run keeps the traced program, from which everything else is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medseg.errors import InputError
from medseg.models.checkpoint import load_state
from medseg.models.pickled import content_of

_PACKAGE = "dynamic_network_architectures"
_FROM = (f"{_PACKAGE}.architectures.", f"{_PACKAGE}.building_blocks.")  # whose classes plans may name
_KNOWN = {
    "PlainConvUNet": f"{_PACKAGE}.architectures.unet.PlainConvUNet",
    "ResidualEncoderUNet": f"{_PACKAGE}.architectures.unet.ResidualEncoderUNet",
}


@dataclass(frozen=True)
class Architecture:
    """A network's class by name, and what it is built with."""

    name: str
    arguments: Mapping[str, Any]
    imported: tuple[str, ...]  # the arguments that are names of classes


@dataclass(frozen=True)
class Fold:
    """A checkpoint's weights, and what it says of inference."""

    weights: Mapping[str, torch.Tensor]
    trainer: str
    mirrors: tuple[int, ...]


def architecture(settings: Mapping[str, Any]) -> Architecture:
    """The architecture of a configuration, of plans of today and of before nnU-Net 2.5. Raises InputError."""
    if "architecture" in settings:
        said = settings["architecture"]
        try:
            name, arguments = str(said["network_class_name"]), dict(said["arch_kwargs"])
            return Architecture(name, arguments, tuple(said.get("_kw_requires_import", ())))
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(
                "plans.json describes no architecture; expected network_class_name and arch_kwargs"
            ) from error
    kind = settings.get("UNet_class_name")
    if kind not in _KNOWN:
        raise InputError(f"plans.json has the network {kind!r}; expected {' or '.join(_KNOWN)}: it cannot be imported")
    try:
        return _old(settings, str(kind))
    except (KeyError, TypeError) as error:
        raise InputError(
            f"plans.json of the old format has no {error}; expected nnU-Net v2's plans: copy them again"
        ) from error


def _old(settings: Mapping[str, Any], kind: str) -> Architecture:
    """The architecture as nnU-Net itself reads old plans."""
    blocks = settings["n_conv_per_stage_encoder"]
    rank = len(settings["patch_size"])
    features = [
        min(settings["UNet_base_num_features"] * 2**stage, settings["unet_max_num_features"])
        for stage in range(len(blocks))
    ]
    arguments = {
        "n_stages": len(blocks),
        "features_per_stage": features,
        "conv_op": f"torch.nn.modules.conv.Conv{rank}d",
        "kernel_sizes": settings["conv_kernel_sizes"],
        "strides": settings["pool_op_kernel_sizes"],
        ("n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"): blocks,
        "n_conv_per_stage_decoder": settings["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{rank}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    return Architecture(_KNOWN[kind], arguments, ("conv_op", "norm_op", "dropout_op", "nonlin"))


def read_fold(file: Path) -> Fold:
    """A fold's checkpoint, read without running code from it. Raises InputError where it is none."""
    content = content_of(file)
    weights = content.get("network_weights") if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not weights:
        raise InputError(f"checkpoint {file} has no network_weights; expected what nnU-Net v2 saves: check the file")
    allowed = content.get("inference_allowed_mirroring_axes")
    if allowed is not None and not all(isinstance(axis, int) and 0 <= axis <= 2 for axis in allowed):
        raise InputError(f"checkpoint {file} mirrors along {allowed!r}; expected axes 0 to 2")
    plain = {key.removeprefix("module.").removeprefix("_orig_mod."): value for key, value in weights.items()}
    return Fold(plain, str(content.get("trainer_name", "")), tuple(allowed or ()))


def built(known: Architecture, channels: int, heads: int, fold: Fold, file: Path) -> nn.Module:
    """The network of a fold with its weights. Raises InputError where the plans and the checkpoint do not fit."""
    arguments = {name: _located(value) if name in known.imported else value for name, value in known.arguments.items()}
    if any(key.endswith("running_mean") for key in fold.weights):
        arguments = _batch_normed(arguments)
    kind = _class(known.name)
    try:
        with torch.random.fork_rng(devices=[]):
            module = kind(input_channels=channels, num_classes=heads, deep_supervision=False, **arguments)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"plans.json's network {known.name} cannot be built ({reason}); expected what the package has"
        ) from error
    try:
        load_state(module, fold.weights, file)
    except InputError as error:
        trainer = f" of trainer {fold.trainer[:80]}" if fold.trainer else ""
        raise InputError(f"{error}; the plans describe another network than the one{trainer} has") from error
    return module.eval()


def _batch_normed(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments with batch norms where the plans have instance norms, as trainers that end in BN build them."""
    norm = arguments.get("norm_op")
    rank = next((rank for rank in "123" if norm is getattr(nn, f"InstanceNorm{rank}d")), None)
    return arguments if rank is None else arguments | {"norm_op": getattr(nn, f"BatchNorm{rank}d")}


def _class(name: str) -> Any:
    """A class of dynamic_network_architectures; older plans name modules that have moved."""
    if not name.startswith(_FROM):
        raise InputError(
            f"plans.json names the network {name[:200]!r}; expected a class of {_PACKAGE}: it cannot be imported"
        )
    try:
        module = import_module(name.rpartition(".")[0])
    except ModuleNotFoundError as error:
        if error.name == _PACKAGE:
            raise InputError(
                f"importing a model of nnU-Net needs {_PACKAGE}, which is not installed: pip install 'medseg[nnunet]'"
            ) from error
        module = import_module(f"{_PACKAGE}.architectures.unet")
    found = getattr(module, name.rpartition(".")[2], None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"plans.json names the network {name[:200]!r}, which {_PACKAGE} does not have: update it")
    return found


def _located(name: Any) -> Any:
    """One of torch's own layers by its name, None as it is. Raises InputError for anything else."""
    if name is None:
        return None
    short = str(name).rpartition(".")[2]
    found = getattr(nn, short, None)
    if not str(name).startswith("torch.nn.") or not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"plans.json names {str(name)[:200]!r} for a layer; expected one of torch.nn's")
    return found


class Folds(nn.Module):
    """Several folds' networks as one: their logits are concatenated, because each fold is blended separately."""

    def __init__(self, folds: list[nn.Module]) -> None:
        super().__init__()
        self.folds = nn.ModuleList(folds)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, folds * heads, ...) logits of (n, channels, ...)."""
        return torch.cat([fold(image) for fold in self.folds], 1)
