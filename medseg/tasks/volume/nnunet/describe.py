"""nnU-Net's plans and data set as a description: only what inference needs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from medseg.errors import InputError
from medseg.schema import number
from medseg.tasks.volume.nnunet.model import Model

_READERS = {  # reader -> how it turns images
    "SimpleITKIO": "",
    "SimpleITKIOWithReorient": "RAS",
    "NibabelIO": "",
    "NibabelIOWithReorient": "RAS",
}
_RESAMPLING = "resample_data_or_seg_to_shape"


def document(model: Model, mirrors: Sequence[int], source: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a model. Raises InputError naming what medseg cannot do as nnU-Net does."""
    plans, dataset = model.plans, model.dataset
    settings = configuration(plans, model.configuration)
    patch = _numbers(settings, "patch_size", 2, 3)
    labels = _labels(dataset)
    classes, order = _classes(labels, dataset)
    regions = {"order": order} if order else {}
    return {
        "format": 1,
        "kind": "volume",
        "title": _title(dataset, plans),
        "channels": _channels(plans, dataset, settings),
        "classes": classes,
        "activation": "sigmoid" if order else "softmax",
        **({"threshold": 0.5} if order else {}),
        "configuration": model.configuration,
        "orientation": _orientation(plans, dataset),
        "axes": [int(axis) for axis in _numbers(plans, "transpose_forward", 3)],
        "spacing_mm": _numbers(settings, "spacing", len(patch)),
        "crop": True,
        "resampling": _resampling(settings),
        "window": {
            "patch": [int(size) for size in patch],
            "overlap": 0.5,
            "blending": "gaussian",
            "steps": "even",
            "accumulator": "float16",
        },
        "mirror_axes": list(mirrors),
        "folds": len(model.checkpoints),
        "network": _network(settings),
        **_previous(settings, labels),
        **regions,
        "source": dict(source),
    }


def configuration(plans: Mapping[str, Any], name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """A configuration with what it inherits."""
    known = plans["configurations"]
    if name not in known or name in above or not isinstance(known[name], dict):
        raise InputError(
            f"plans.json has no configuration {name!r} to inherit from; expected one of {', '.join(known)}"
        )
    own = known[name]
    parent = own.get("inherits_from")
    return own if parent is None else configuration(plans, parent, (*above, name)) | own


def heads(document: Mapping[str, Any]) -> int:
    """How many output channels the network of a description has."""
    return len(document["classes"]) + (document["activation"] == "softmax")


def inputs(document: Mapping[str, Any]) -> int:
    """How many input channels the network of a description has."""
    return len(document["channels"]) + len(document.get("previous", {}).get("labels", ()))


def _title(dataset: Mapping[str, Any], plans: Mapping[str, Any]) -> str:
    name = dataset.get("name") or plans.get("dataset_name") or ""
    return str(name)[:256] if str(name).isprintable() else ""


def _labels(dataset: Mapping[str, Any]) -> dict[str, int | list[int]]:
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise InputError("dataset.json has no labels; expected a name and a number for each class")
    found: dict[str, int | list[int]] = {}
    for name, value in labels.items():
        several = [int(one) for one in value] if isinstance(value, list | tuple) else None
        try:
            found[str(name)] = int(value) if several is None else several
        except (TypeError, ValueError) as error:
            raise InputError(
                f"dataset.json: label {name!r} is {value!r}; expected a number or a list of them"
            ) from error
    return found


def _classes(
    labels: Mapping[str, int | list[int]], dataset: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[int]]:
    """The classes, and of regions the value that each writes, in the order in which they are written."""
    kept = {name: value for name, value in labels.items() if name != "ignore" and not _is_background(value)}
    if not any(isinstance(value, list) for value in kept.values()):
        values = sorted(value for value in kept.values() if isinstance(value, int))
        if values != list(range(1, len(values) + 1)):
            raise InputError(f"dataset.json has the labels {values}; expected 1, 2, 3 and so on")
        names = _apart(list(kept))
        return [{"name": name, "value": value} for name, value in zip(names, kept.values(), strict=True)], []
    order = dataset.get("regions_class_order")
    if not isinstance(order, list) or len(order) != len(kept) or not all(isinstance(one, int) for one in order):
        raise InputError(f"dataset.json has {len(kept)} regions; expected regions_class_order with a label for each")
    names = _apart(list(kept))
    regions = [list(dict.fromkeys(value)) if isinstance(value, list) else [value] for value in kept.values()]
    return [{"name": name, "region": region} for name, region in zip(names, regions, strict=True)], list(order)


def _is_background(value: int | list[int]) -> bool:
    return set(value if isinstance(value, list) else [value]) == {0}


def _channels(
    plans: Mapping[str, Any], dataset: Mapping[str, Any], settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    names = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(names, dict) or not names:
        raise InputError("dataset.json has no channel_names; expected a name for each channel, counted from 0")
    if sorted(names) != sorted(map(str, range(len(names)))):
        raise InputError(f"dataset.json numbers its channels {', '.join(names)}; expected 0, 1 and so on")
    ordered = [str(names[str(index)]) for index in range(len(names))]
    schemes, masked = settings.get("normalization_schemes", []), settings.get("use_mask_for_norm", [])
    if len(schemes) != len(ordered) or len(masked) != len(ordered):
        raise InputError(f"plans.json normalises {len(schemes)} channels, dataset.json names {len(ordered)}")
    seen = plans.get("foreground_intensity_properties_per_channel")
    seen = plans.get("foreground_intensity_properties_by_modality", {}) if seen is None else seen
    return [
        {
            "name": name,
            "modality": str(ordered[index])[:64],
            "normalisation": _scheme(schemes[index], bool(masked[index]), seen.get(str(index), {})),
        }
        for index, name in enumerate(_apart(ordered))
    ]


def _scheme(name: str, masked: bool, seen: Mapping[str, Any]) -> dict[str, Any]:
    if name == "CTNormalization":
        keys = {"low": "percentile_00_5", "high": "percentile_99_5", "mean": "mean", "std": "std"}
        if lacking := [key for key in keys.values() if not number(seen.get(key))]:
            raise InputError(f"plans.json has no {lacking[0]} of a CT's intensities; expected it for CTNormalization")
        return {"scheme": "window", **{ours: float(seen[theirs]) for ours, theirs in keys.items()}}
    known: dict[str, dict[str, Any]] = {
        "ZScoreNormalization": {"scheme": "zscore", "masked": masked},
        "NoNormalization": {"scheme": "none"},
        "RescaleTo01Normalization": {"scheme": "share"},
        "RGBTo01Normalization": {"scheme": "bytes"},
    }
    if name not in known:
        raise InputError(
            f"plans.json normalises with {name!r}, which medseg does not know; expected CTNormalization, "
            f"{', '.join(known)}: it cannot be imported"
        )
    return known[name]


def _orientation(plans: Mapping[str, Any], dataset: Mapping[str, Any]) -> str:
    reader = plans.get("image_reader_writer") or dataset.get("overwrite_image_reader_writer") or "SimpleITKIO"
    if reader not in _READERS:
        raise InputError(
            f"plans.json reads images with {reader!r}; expected one of volumes, {', '.join(_READERS)}: it cannot be "
            "imported"
        )
    return _READERS[reader]


def _resampling(settings: Mapping[str, Any]) -> dict[str, Any]:
    rules = {}
    for ours, theirs in (("image", "data"), ("answer", "probabilities")):
        name = settings.get(f"resampling_fn_{theirs}", _RESAMPLING)
        if name != _RESAMPLING:
            raise InputError(
                f"plans.json resamples with {name!r}, which medseg does not know; expected {_RESAMPLING}: it cannot be "
                "imported"
            )
        given = settings.get(f"resampling_fn_{theirs}_kwargs", {})
        order, between = given.get("order", 3 if ours == "image" else 1), given.get("order_z", 0)
        if order not in (0, 1, 3) or between not in (0, 1) or (ours == "answer" and (order, between) != (1, 0)):
            raise InputError(
                f"plans.json resamples the {theirs} with order {order} and between slices {between}; expected 0, 1 or "
                "3 and 0 or 1 for data, 1 and 0 for probabilities: it cannot be imported"
            )
        rules[ours] = {"order": order, "between": between, "separate": given.get("force_separate_z")}
    return {"numerics": "nnunet", **rules, "of": "logits"}


def _network(settings: Mapping[str, Any]) -> dict[str, Any]:
    from medseg.tasks.volume.nnunet.network import architecture

    known = architecture(settings)
    return {"name": known.name, "arguments": dict(known.arguments)}


def _previous(settings: Mapping[str, Any], labels: Mapping[str, int | list[int]]) -> dict[str, Any]:
    name = settings.get("previous_stage")
    if not name:
        return {}
    flat = {
        one
        for key, value in labels.items()
        if key != "ignore"
        for one in (value if isinstance(value, list) else [value])
    }
    return {"previous": {"configuration": str(name), "labels": sorted(flat - {0})}}


def _numbers(document: Mapping[str, Any], name: str, *lengths: int) -> list[float]:
    values = document.get(name)
    if not isinstance(values, list) or len(values) not in lengths or not all(map(number, values)):
        raise InputError(
            f"plans.json has no {name} of {' or '.join(map(str, lengths))} numbers; expected nnU-Net v2's plans"
        )
    return values


def _apart(names: Sequence[str]) -> list[str]:
    """The names as a description may have them: plain, and each once."""
    plain = [re.sub(r'[/\\:*?"<>|]+', "-", name).strip(". ")[:70] or f"channel {at}" for at, name in enumerate(names)]
    found: list[str] = []
    for name in plain:
        count = 1 + sum(name.casefold() == other.casefold().rsplit(" #")[0] for other in found)
        found.append(name if count == 1 else f"{name} #{count}")
    return found
