"""LUNA's inference as named steps: CT in; nodules and their mask out. Each step is one model of the Triton ensemble."""

from __future__ import annotations

import numpy as np

from medseg.errors import InputError, RunError
from medseg.task import Array, Geometry, Infer, Networks, Pipeline, Step, Tensor, Tensors
from medseg.tasks.luna import classify, group, lungs, segment
from medseg.tasks.luna.networks import NETWORKS

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
_SMALLEST_SIDE = 4  # the U-Net halves a slice twice


def geometry_tensor(geometry: Geometry) -> Array:
    """A geometry as (15,) float64: spacing x, y, z in mm, origin x, y, z in mm, 9 direction cosines row by row."""
    return np.array([*geometry.spacing_mm, *geometry.origin_mm, *geometry.direction], np.float64)


def geometry_from(tensor: Array) -> Geometry:
    """The inverse of `geometry_tensor`. Raises InputError where a spacing is not positive or a number not finite."""
    numbers = tensor.astype(np.float64).tolist()
    if not np.isfinite(numbers).all() or min(numbers[:3]) <= 0:
        raise InputError(f"tensor 'geometry' starts with spacing {numbers[:3]} mm; expected positive, finite numbers")
    return Geometry(tuple(numbers[:3]), tuple(numbers[3:6]), tuple(numbers[6:]))


def find(tensors: Tensors, networks: Networks) -> Tensors:
    """Step 1: `ct` to the candidates' mask, as packed bits (see `mask_from_bits`)."""
    ct = tensors["ct"]
    if ct.ndim != 3 or min(ct.shape[1:]) < _SMALLEST_SIDE:
        raise InputError(f"tensor 'ct' has shape {ct.shape}; expected (slices, rows, columns), at least 4 x 4 pixels")
    geometry = geometry_from(tensors["geometry"])
    roi = int(tensors["roi"][0]) if "roi" in tensors else ROI_ALL
    if roi not in (ROI_ALL, ROI_LUNGS):
        raise InputError(f"tensor 'roi' is {roi}; expected 0 (the whole CT) or 1 (the lungs)")
    region = lungs.lungs(ct, geometry) if roi == ROI_LUNGS else None
    return {"candidate_mask": np.packbits(segment.segment(ct, networks("luna-segment"), region))}


def split(tensors: Tensors, _: Networks) -> Tensors:
    """Step 2: the mask to its pieces: centres (n, 3) float64 index, row, col, and diameters (n,) float64 in mm."""
    ct = tensors["ct"]
    centres, voxels = group.group(ct, mask_from_bits(tensors["candidate_mask"], ct.shape))
    volume_mm3 = voxels * float(np.prod(geometry_from(tensors["geometry"]).spacing_mm))
    return {"centres": centres, "diameters_mm": np.cbrt(6 / np.pi * volume_mm3)}


def judge(tensors: Tensors, networks: Networks) -> Tensors:
    """Steps 3 and 4: candidates to nodule probabilities (n,) and malignancy probabilities (n, 1).

    Malignancy is asked only of candidates that will be listed; the others' is NaN. Where that network is not among the
    runs, malignancy has shape (n, 0).
    """
    ct, centres = tensors["ct"], tensors["centres"]
    nodule = classify.classify(ct, centres, networks("luna-nodule"))
    malignancy_network = _if_there(networks, "luna-malignancy")
    if malignancy_network is None:
        return {"nodule_probability": nodule, "malignancy_probability": np.zeros((len(nodule), 0))}
    listed = nodule >= _threshold(tensors)
    malignancy = np.full((len(nodule), 1), np.nan)
    malignancy[listed, 0] = classify.classify(ct, centres[listed], malignancy_network)
    return {"nodule_probability": nodule, "malignancy_probability": malignancy}


def report(tensors: Tensors, _: Networks) -> Tensors:
    """The last step: a table of nodules, most probable first, with NODULE_COLUMNS (and malignancy), and the mask."""
    probability, malignancy = tensors["nodule_probability"], tensors["malignancy_probability"]
    centres = tensors["centres"]
    world = geometry_from(tensors["geometry"]).world_from_voxel(centres)
    table = np.concatenate([world, centres, tensors["diameters_mm"][:, None], probability[:, None], malignancy], 1)
    order = np.argsort(-probability, kind="stable")
    listed = order[probability[order] >= _threshold(tensors)]
    return {"nodules": table[listed], "mask": tensors["candidate_mask"]}


def mask_from_bits(bits: Array, shape: tuple[int, ...]) -> Array:
    """The mask (index, row, col) bool from its packed bits (ceil(voxels / 8),) uint8, first voxel in the top bit."""
    return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).view(bool)


def _threshold(tensors: Tensors) -> float:
    return float(tensors["threshold"][0]) if "threshold" in tensors else 0.5


def _if_there(networks: Networks, name: str) -> Infer | None:
    try:
        return networks(name)
    except RunError:
        return None


_SIDE = 4096  # voxels; more than any CT has along an axis
_BYTES = _SIDE**3 // 8  # of a mask as packed bits
_CANDIDATES = 1 << 24

PIPELINE = Pipeline(
    tensors=(
        Tensor("ct", "int16", (-1, -1, -1), limit=_SIDE),
        Tensor("geometry", "float64", (15,)),
        Tensor("roi", "uint8", (1,), optional=True),
        Tensor("threshold", "float32", (1,), optional=True),
        Tensor("candidate_mask", "uint8", (-1,), limit=_BYTES),
        Tensor("centres", "float64", (-1, 3), limit=_CANDIDATES, values=(0, _SIDE)),
        Tensor("diameters_mm", "float64", (-1,), limit=_CANDIDATES),
        Tensor("nodule_probability", "float64", (-1,), limit=_CANDIDATES),
        Tensor("malignancy_probability", "float64", (-1, -1), limit=(_CANDIDATES, 1)),
        Tensor("nodules", "float64", (-1, -1), limit=(_CANDIDATES, len(NODULE_COLUMNS) + 1)),
        Tensor("mask", "uint8", (-1,), limit=_BYTES),
    ),
    inputs=("ct", "geometry", "roi", "threshold"),
    steps=(
        Step("find", find, ("ct", "geometry", "roi"), ("candidate_mask",)),
        Step("split", split, ("ct", "geometry", "candidate_mask"), ("centres", "diameters_mm")),
        Step("judge", judge, ("ct", "centres", "threshold"), ("nodule_probability", "malignancy_probability")),
        Step(
            "report",
            report,
            (
                "geometry",
                "threshold",
                "candidate_mask",
                "centres",
                "diameters_mm",
                "nodule_probability",
                "malignancy_probability",
            ),
            ("nodules", "mask"),
        ),
    ),
    outputs=("nodules", "mask"),
    networks=NETWORKS,
)
