"""LUNA's list of nodules, as exported files are judged on it: every candidate of a CT with its probability."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from medseg.task import Array, Listing, Tensors
from medseg.tasks.luna.pipeline import geometry_from
from medseg.tasks.luna.reader import cases
from medseg.tasks.luna.tables import candidates


def question(directory: Path, patient: str, networks: Collection[str]) -> Tensors | None:
    """The patient's CT with a threshold of 0, None where these networks give no probabilities.

    Without the segmentation the candidates are the tables': the annotations, and the candidates of class 0.
    """
    if "luna-nodule" not in networks:
        return None
    tensors = cases(directory, patient)[0].ask()
    if "luna-segment" in networks:
        return tensors
    places = np.array([row.xyz_mm for row in candidates(directory, [patient])]).reshape(-1, 3)
    ct = tensors["ct"]
    centres = np.clip(geometry_from(tensors["geometry"]).voxel_from_world(places), 0, np.array(ct.shape) - 1)
    return tensors | {"centres": centres}


def items(tensors: Tensors) -> dict[str, Array]:
    """Lists of (n, 4) x, y, z in mm and probability: all candidates as nodules, and the likely nodules as malignant."""
    world = geometry_from(tensors["geometry"]).world_from_voxel(tensors["centres"])
    nodule, malignancy = tensors["nodule_probability"], tensors["malignancy_probability"]
    lists = {"nodules": np.column_stack([world, nodule])}
    if malignancy.shape[1]:
        likely = nodule >= LISTING.threshold
        lists["malignant nodules"] = np.column_stack([world, malignancy])[likely]
    return lists


_WIRES = ("centres", "nodule_probability", "malignancy_probability")
LISTING = Listing(question, _WIRES, items, near_mm=5.0, threshold=0.5)
