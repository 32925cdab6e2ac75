"""A MONAI bundle as a run: its description and its traced program, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import dumps
from pathlib import Path
from typing import Any

from torch import nn

from medseg.bringing import Brought, NetworkOptions
from medseg.errors import InputError
from medseg.files import sha256
from medseg.models.checkpoint import load_state, read_weights
from medseg.schema import number
from medseg.scratch import Scratch
from medseg.tasks.volume.monai.bundle import Bundle, found
from medseg.tasks.volume.monai.transforms import AFTER, BEFORE, Said, plain_name, read
from medseg.tasks.volume.plan import described_plan
from medseg.tasks.volume.program import refuse_others, save

_NETWORKS = ("network_def", "network")
_PREPROCESSING = ("preprocessing", "pre_transforms", "preprocess")
_POSTPROCESSING = ("postprocessing", "post_transforms", "postprocess")


def imported(path: Path, choices: NetworkOptions) -> Brought:
    """The content of a bundle. Raises InputError, which names what cannot be done exactly as in MONAI."""
    refuse_others(choices, "a bundle of MONAI")
    bundle = found(path)
    names, classes = _names(bundle, "inputs", "image"), _names(bundle, "outputs", "pred")
    said = Said()
    read(_transforms(bundle, _PREPROCESSING), len(names), said, BEFORE)
    read(_transforms(bundle, _POSTPROCESSING), len(names), said, AFTER)
    described = _document(bundle, said, names, classes)
    _, plan = described_plan(described, str(path))
    module = _network(bundle)
    scratch = Scratch("import")
    program = Path(scratch.name) / "given.pt2"
    save(module, (len(names), *plan.window.patch), program)
    source = {"kind": "program", "file": path.name, "sha256": sha256(bundle.weights)}
    return Brought(dumps(described, indent=2) + "\n", program=program, source=source, kept=scratch)


def _document(bundle: Bundle, said: Said, names: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    if said.spacing_mm is None:
        raise InputError("the bundle has no Spacing; expected the spacing that its network was fitted on")
    if not said.restored or not said.decided:
        raise InputError("the bundle does not resample its answer back to the image; expected Invert and AsDiscrete")
    softmax = said.decided == "argmax"
    if said.activation not in (None, "softmax" if softmax else "sigmoid"):
        raise InputError(f"the bundle has {said.activation} and {said.decided}; expected a matching pair")
    first = 1 if softmax else 0  # argmax's channel 0 is the background
    found = [{"name": name, "value": index + 1} for index, name in enumerate(classes[first:])]
    network = bundle.value(_named(bundle, _NETWORKS))
    return {
        "format": 1,
        "kind": "volume",
        "title": str(bundle.metadata.get("name", ""))[:256],
        "channels": [{"name": name, "normalisation": said.scheme or {"scheme": "none"}} for name in names],
        "classes": found,
        "activation": "softmax" if softmax else "sigmoid",
        **({} if softmax else {"threshold": said.threshold}),
        "orientation": said.orientation,
        "axes": [2, 1, 0],  # the first axis of MONAI's arrays is x
        "spacing_mm": said.spacing_mm,
        "crop": said.crop,
        "resampling": {
            "numerics": "monai",
            "image": {"order": 1},
            "answer": {"order": 1},
            "of": "probabilities" if said.activation else "logits",
            "first": said.normalised_last,
        },
        "window": _window(bundle),
        "mirror_axes": [],
        "folds": 1,
        "network": {"name": str(network["_target_"])[:200]},
        **({"largest_piece": said.largest} if said.largest else {}),
        "source": _source(bundle),
    }


def _window(bundle: Bundle) -> dict[str, Any]:
    one = bundle.value(_named(bundle, ("inferer",)))
    name = plain_name(str(one.get("_target_", "")))
    if name != "SlidingWindowInferer":
        raise InputError(f"the bundle infers with {name!r}; expected SlidingWindowInferer: it cannot be imported")
    known = {
        "_target_",
        "roi_size",
        "sw_batch_size",
        "overlap",
        "mode",
        "padding_mode",
        "sigma_scale",
        "cval",
        "progress",
    }
    ignored = {"device", "sw_device", "cache_roi_weight_map", "cpu_thresh", "_desc_"}
    if odd := [key for key in one if key not in known | ignored]:
        raise InputError(f"the bundle's inferer has the argument {odd[0]!r}, which medseg does not know")
    usual = {"padding_mode": "constant", "sigma_scale": 0.125, "cval": 0}
    if changed := [key for key, value in usual.items() if one.get(key, value) != value]:
        raise InputError(f"the bundle's inferer has {changed[0]} {one[changed[0]]!r}; expected {usual[changed[0]]!r}")
    roi, overlap = one.get("roi_size"), one.get("overlap", 0.25)
    if not isinstance(roi, list) or len(roi) != 3 or not all(isinstance(size, int) and size > 0 for size in roi):
        raise InputError(f"the bundle's inferer has roi_size {roi!r}; expected three whole numbers")
    if not number(overlap):
        raise InputError(f"the bundle's inferer has overlap {overlap!r}; expected one number")
    return {
        "patch": roi,
        "overlap": float(overlap),
        "blending": str(one.get("mode", "constant")),
        "steps": "fixed",
        "accumulator": "float32",
    }


def _network(bundle: Bundle) -> nn.Module:
    """The network with its weights. Raises InputError where it is none of MONAI's, or does not fit."""
    arguments = {**bundle.value(_named(bundle, _NETWORKS))}
    target = str(arguments.pop("_target_"))
    try:
        from monai.networks import nets
    except ModuleNotFoundError as error:
        raise InputError(
            "importing a bundle needs monai, which is not installed: pip install 'medseg[train]'"
        ) from error
    kind = getattr(nets, target.rpartition(".")[2], None)
    ours = target.startswith("monai.networks.nets.") or "." not in target
    if not ours or not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise InputError(f"the bundle's network is {target[:200]!r}; expected a class of monai.networks.nets")
    try:
        module = kind(**arguments)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(f"the bundle's network {target} cannot be built ({reason}); check its arguments") from error
    load_state(module, read_weights(bundle.weights, module.state_dict()).state, bundle.weights)
    return module.eval()


def _named(bundle: Bundle, names: Sequence[str]) -> Mapping[str, Any]:
    """The first of these entries that describes something by a _target_."""
    for name in names:
        entry = bundle.config.get(name)
        if isinstance(entry, dict) and "_target_" in entry:
            return entry
    raise InputError(f"the inference configuration has no {' or '.join(names)} with a _target_; expected one")


def _transforms(bundle: Bundle, names: Sequence[str]) -> list[Mapping[str, Any]]:
    entry = _named(bundle, names)
    if plain_name(str(entry["_target_"])) != "Compose" or not isinstance(entry.get("transforms"), list):
        raise InputError(f"the bundle's {names[0]} is {entry['_target_']!r}; expected Compose with transforms")
    kept = []
    for one in entry["transforms"]:
        known = plain_name(str(one.get("_target_"))) if isinstance(one, dict) else ""
        # In these two, only file names and the inverted transforms may be expressions.
        skipped = {"Invert": ("transform",), "SaveImage": tuple(one)}.get(known, ()) if isinstance(one, dict) else ()
        kept.append(
            {
                name: value if name == "_target_" else bundle.value(value)
                for name, value in one.items()
                if name == "_target_" or name not in (*skipped, "device", "keys")
            }
            if isinstance(one, dict)
            else one
        )
    return kept


def _names(bundle: Bundle, side: str, name: str) -> list[str]:
    """The names of the channels that go in or come out, by the bundle's metadata."""
    place: Any = bundle.metadata
    for key in ("network_data_format", side, name):
        place = place.get(key, {}) if isinstance(place, dict) else {}
    count, named = place.get("num_channels"), place.get("channel_def", {})
    if not isinstance(count, int) or not 1 <= count <= 255 or not isinstance(named, dict):
        raise InputError(f"metadata.json does not say how many channels {name!r} has; expected network_data_format")
    found = [str(named.get(str(index), f"{name} {index}")).replace("/", "-").strip(". ")[:70] for index in range(count)]
    return [one if found.count(one) == 1 and one else f"{one or name} {index}" for index, one in enumerate(found)]


def _source(bundle: Bundle) -> dict[str, Any]:
    said = {"license": bundle.metadata.get("license"), "citation": bundle.metadata.get("citation")}
    known = {name: str(value) for name, value in said.items() if value}
    files = {bundle.weights.name: sha256(bundle.weights)}
    return {"project": "MONAI", "version": str(bundle.metadata.get("monai_version", ""))[:64], "files": files, **known}
