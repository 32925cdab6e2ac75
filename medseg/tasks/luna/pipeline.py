"""LUNA's inference as named steps: CT in; nodules and their voxels out. Each step is one model of the Triton ensemble.

Every wire refers to the CT's own grid. A step turns the CT into the orientation of its networks, however it was stored
(`Orientation`), and turns its result back.
"""

from __future__ import annotations

import math

import numpy as np

from medseg.data.encoded import encoded_tensor
from medseg.data.hounsfield import doubt, remark
from medseg.data.upright import orientation_of
from medseg.errors import InputError, RunError
from medseg.task import Array, Infer, Networks, Pipeline, Step, Tensor, Tensors
from medseg.tasks.luna import find as finding
from medseg.tasks.luna import geometry, lungs, pieces
from medseg.tasks.luna import judge as judging
from medseg.tasks.luna import split as splitting
from medseg.tasks.luna.geometry import geometry_from, geometry_tensor
from medseg.tasks.luna.networks import NETWORKS

__all__ = ["MALIGNANCY_COLUMN", "NODULE_COLUMNS", "PIPELINE", "geometry_from", "geometry_tensor", "mask_from_bits"]

NODULE_COLUMNS = (
    "center_x_mm",
    "center_y_mm",
    "center_z_mm",
    "center_index",
    "center_row",
    "center_col",
    "diameter_mm",
    "nodule_probability",
)
MALIGNANCY_COLUMN = "malignancy_probability"
ROI_ALL, ROI_LUNGS = 0, 1


def find(tensors: Tensors, networks: Networks) -> Tensors:
    """Step 1: `ct` to the candidates' mask, as packed bits (see `mask_from_bits`), and what is doubtful of the CT."""
    where = geometry_from(tensors["geometry"])
    turn = orientation_of(where)
    ct = turn.seen(tensors["ct"])
    doubts = [*_remarks(tensors["ct"]), *geometry.doubts(where)]
    roi = int(tensors["roi"][0]) if "roi" in tensors else ROI_ALL
    region = lungs.lungs(ct, turn.seen_geometry(where, tensors["ct"].shape)) if roi == ROI_LUNGS else None
    mask = finding.segment(ct, networks("luna-segment"), region)
    return {
        "candidate_mask": np.packbits(turn.stored(mask)),
        "doubts": encoded_tensor([doubt.encode() for doubt in doubts]),
    }


def _remarks(ct: Array) -> list[str]:
    """What makes the values doubtful. Raises InputError where they are no HU."""
    if why := doubt(ct):
        raise InputError(f"tensor 'ct' is not a CT in HU: {why}")
    return [remarked] if (remarked := remark(ct)) else []


def split(tensors: Tensors, _: Networks) -> Tensors:
    """Step 2: the mask to its pieces: centres (n, 3) float64 index, row, col, and diameters (n,) float64 in mm.

    `pieces` (runs, 3) int64 are their voxels, see medseg/tasks/luna/pieces.py; candidates count from 0.
    """
    shape, where = tensors["ct"].shape, geometry_from(tensors["geometry"])
    turn = orientation_of(where)
    found = splitting.group(turn.seen(tensors["ct"]), turn.seen(mask_from_bits(tensors["candidate_mask"], shape)))
    volume_mm3 = found.sizes * float(np.prod(where.spacing_mm))
    return {
        "centres": turn.stored_voxels(found.centres, shape),
        "diameters_mm": np.cbrt(6 / np.pi * volume_mm3),
        "pieces": pieces.runs_of(pieces.stored(found.places, shape, turn), found.owners),
    }


def judge(tensors: Tensors, networks: Networks) -> Tensors:
    """Steps 3 and 4: candidates to nodule probabilities (n,) and malignancy probabilities (n, 1).

    Malignancy is asked only of candidates that will be listed; the others' is NaN. Where that network is not among the
    runs, malignancy has shape (n, 0).
    """
    turn = orientation_of(geometry_from(tensors["geometry"]))
    ct, centres = turn.seen(tensors["ct"]), turn.seen_voxels(tensors["centres"], tensors["ct"].shape)
    nodule = judging.classify(ct, centres, networks("luna-nodule"))
    malignancy_network = _if_there(networks, "luna-malignancy")
    if malignancy_network is None:
        return {"nodule_probability": nodule, "malignancy_probability": np.zeros((len(nodule), 0))}
    listed = nodule >= _threshold(tensors)
    malignancy = np.full((len(nodule), 1), np.nan)
    malignancy[listed, 0] = judging.classify(ct, centres[listed], malignancy_network)
    return {"nodule_probability": nodule, "malignancy_probability": malignancy}


def report(tensors: Tensors, _: Networks) -> Tensors:
    """The last step: a table of nodules, most probable first, with NODULE_COLUMNS (and malignancy), and their voxels.

    `mask` (runs, 3) int64 are those voxels: the first one's place in the flattened CT, how many, and the nodule, which
    is the table's row counted from 1. `candidates` is the mask of all candidates, as packed bits;
    `notes` (n,) bytes what makes the answer doubtful.
    """
    probability, malignancy = tensors["nodule_probability"], tensors["malignancy_probability"]
    centres = tensors["centres"]
    _check_candidates(tensors, len(centres))
    world = geometry_from(tensors["geometry"]).world_from_voxel(centres)
    table = np.concatenate([world, centres, tensors["diameters_mm"][:, None], probability[:, None], malignancy], 1)
    order = np.argsort(-probability, kind="stable")
    listed = order[probability[order] >= _threshold(tensors)]
    return {
        "nodules": table[listed],
        "mask": pieces.nodules_of(tensors["pieces"], listed),
        "candidates": tensors["candidate_mask"],
        "notes": tensors["doubts"],
    }


def _check_candidates(tensors: Tensors, count: int) -> None:
    """Raise InputError where tensors from a client refer to different candidates."""
    names = ("diameters_mm", "nodule_probability", "malignancy_probability")
    if any(len(tensors[name]) != count for name in names) or tensors["pieces"][:, 2].max(initial=-1) >= count:
        raise InputError(
            f"tensors {', '.join(names)} and pieces do not fit {count} centres; expected one of each for each"
        )


def mask_from_bits(bits: Array, shape: tuple[int, ...]) -> Array:
    """The mask (index, row, col) bool from its packed bits (ceil(voxels / 8),) uint8, first voxel in the top bit.

    Raises InputError for bits of another shape.
    """
    voxels = math.prod(shape)
    if len(bits) != -(-voxels // 8):
        raise InputError(f"a mask of {len(bits)} bytes; expected {-(-voxels // 8)}, a bit for each of {voxels} voxels")
    return np.unpackbits(bits, count=voxels).reshape(shape).view(bool)


def _threshold(tensors: Tensors) -> float:
    return float(tensors["threshold"][0]) if "threshold" in tensors else 0.5


def _if_there(networks: Networks, name: str) -> Infer | None:
    try:
        return networks(name)
    except RunError:
        return None


_LEAST, _SIDE = 4, 4096  # voxels along an axis: the U-Net halves a slice twice; more than any CT has
_BYTES = _SIDE**3 // 8  # of a mask as packed bits
_CANDIDATES = 1 << 24
_RUNS = 1 << 28

PIPELINE = Pipeline(
    tensors=(
        Tensor("ct", "int16", (-1, -1, -1), limit=_SIDE, least=_LEAST),
        Tensor("geometry", "float64", (15,), problem=geometry.problem),
        Tensor("roi", "uint8", (1,), optional=True, values=(ROI_ALL, ROI_LUNGS)),
        Tensor("threshold", "float32", (1,), optional=True, values=(0, 1)),
        Tensor("candidate_mask", "uint8", (-1,), limit=_BYTES),
        Tensor("doubts", "bytes", (-1,)),
        Tensor("centres", "float64", (-1, 3), limit=_CANDIDATES, values=(0, _SIDE)),
        Tensor("diameters_mm", "float64", (-1,), limit=_CANDIDATES, values=(0, math.inf)),
        Tensor("pieces", "int64", (-1, 3), limit=_RUNS, values=(0, _SIDE**3)),
        Tensor("nodule_probability", "float64", (-1,), limit=_CANDIDATES, values=(0, 1)),
        Tensor("malignancy_probability", "float64", (-1, -1), limit=(_CANDIDATES, 1)),
        Tensor("nodules", "float64", (-1, -1), limit=(_CANDIDATES, len(NODULE_COLUMNS) + 1)),
        Tensor("mask", "int64", (-1, 3), limit=_RUNS),
        Tensor("candidates", "uint8", (-1,), limit=_BYTES),
        Tensor("notes", "bytes", (-1,)),
    ),
    inputs=("ct", "geometry", "roi", "threshold"),
    steps=(
        Step("find", find, ("ct", "geometry", "roi", "threshold"), ("candidate_mask", "doubts")),  # refuses at once
        Step("split", split, ("ct", "geometry", "candidate_mask"), ("centres", "diameters_mm", "pieces")),
        Step(
            "judge", judge, ("ct", "geometry", "centres", "threshold"), ("nodule_probability", "malignancy_probability")
        ),
        Step(
            "report",
            report,
            (
                "geometry",
                "threshold",
                "candidate_mask",
                "doubts",
                "centres",
                "diameters_mm",
                "pieces",
                "nodule_probability",
                "malignancy_probability",
            ),
            ("nodules", "mask", "candidates", "notes"),
        ),
    ),
    outputs=("nodules", "mask", "candidates", "notes"),
    networks=NETWORKS,
)
