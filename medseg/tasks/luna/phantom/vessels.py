"""The trees of vessels in a made-up chest's lungs: they grow from where vessels enter a lung to places all over it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.task import Array
from medseg.tasks.luna.phantom.chest import ROOTS, Chest
from medseg.tasks.luna.phantom.nodules import Nodule
from medseg.tasks.luna.phantom.shapes import paint_tube

TIPS, TIP_MM = 130, (0.45, 0.7)  # of each tree; the radius of a vessel that does not fork any more
FEEDING_MM = 1.2  # of a vessel that ends in a nodule
JOINING = 2.4  # radii to this power add up where vessels join, about as they do in bodies
STEP_MM, SWAY = 6.0, 0.1  # a vessel's straight pieces, and how far it strays as a share of its length
FROM_PLEURA_MM = 2.0
CLEARANCE_MM = 6.0  # between a nodule and a vessel that does not end in it
BLOOD = 45


@dataclass(frozen=True)
class Tree:
    """Points in mm; every point but the first hangs on an earlier one."""

    points: Array  # (n, 3)
    parents: Array  # (n,) int; the first is its own
    radii: Array  # (n,) of the piece that leads to the point

    @property
    def forks(self) -> Array:
        """Where vessels that are wider than two millimetres fork, (n, 3)."""
        children = np.bincount(self.parents, minlength=len(self.points))
        children[0] = 0
        return self.points[(children > 1) & (self.radii > 1)]


def grow(rng: np.random.Generator, chest: Chest, nodules: Sequence[Nodule]) -> list[Tree]:
    """Two trees for each lung; some nodules hang on them, and vessels stay clear of all others."""
    trees = []
    for number, root in enumerate(ROOTS):
        start = np.array(root) * chest.stretch
        fed = [one for one in nodules if one.fed and one.centre[2] * start[2] > 0][number % 2 :: 2]
        trees.append(_tree(rng, chest, start, nodules, fed))
    return trees


def paint_vessels(chest: Chest, trees: Iterable[Tree]) -> None:
    """Draw the trees, the thinnest vessels first."""
    pieces = [
        (tree.points[parent], point, radius)
        for tree in trees
        for point, parent, radius in zip(tree.points, tree.parents, tree.radii, strict=True)
    ]
    for piece in sorted(pieces, key=lambda piece: float(piece[2])):
        paint_tube(chest.hu, chest.axes, piece, BLOOD)


def _tree(
    rng: np.random.Generator, chest: Chest, root: Array, nodules: Sequence[Nodule], fed: Sequence[Nodule]
) -> Tree:
    points, parents, own = root[None], [0], [0.0]
    ends = [(tip, float(rng.uniform(*TIP_MM)), nodules) for tip in _tips(rng, chest, root)]
    ends += [(one.centre, FEEDING_MM, [other for other in nodules if other is not one]) for one in fed]
    for tip, radius, shunned in ends:
        joint = _joint(points, root, tip)
        path = _path(rng, points[joint], tip)
        if _clear(path, shunned) and (len(path) < 2 or chest.depth(path[1:]).min() > 0):
            parents += [joint, *range(len(points), len(points) + len(path) - 1)]
            own += [0.0] * (len(path) - 1) + [radius]
            points = np.concatenate([points, path])
    return Tree(points, np.array(parents), _radii(np.array(parents), np.array(own)))


def _tips(rng: np.random.Generator, chest: Chest, root: Array) -> Array:
    """Places all over the root's lung, (n, 3) in mm, those near the root first."""
    extent = np.array([np.abs(axis).max() for axis in chest.axes])
    places = rng.uniform(-1, 1, (TIPS * 12, 3)) * extent
    inside = places[(places[:, 2] * root[2] > 0) & (chest.depth(places) > FROM_PLEURA_MM)][:TIPS]
    return inside[np.argsort(np.linalg.norm(inside - root, axis=1))]


def _joint(points: Array, root: Array, tip: Array) -> int:
    """The point of the tree, by number, where a vessel to the tip leaves it: near, and without a sharp turn."""
    way, along = tip - points, points - root
    length, behind = np.linalg.norm(way, axis=1), np.linalg.norm(along, axis=1)
    straight = (way * along).sum(1) / np.maximum(length * behind, 1e-6)
    straight[0] = 0.6  # vessels leave the root in every direction
    return int(np.argmin(length * (1.6 - straight)))


def _path(rng: np.random.Generator, start: Array, end: Array) -> Array:
    """Points on a bent line from `start`, which is left out, to `end`."""
    length = float(np.linalg.norm(end - start))
    along = np.linspace(0, 1, max(2, int(np.ceil(length / STEP_MM)) + 1))[1:, None]
    return start + along * (end - start) + 4 * along * (1 - along) * rng.normal(0, SWAY * length, 3)


def _clear(path: Array, nodules: Iterable[Nodule]) -> bool:
    return all(np.linalg.norm(path - one.centre, axis=1).min() > one.radius + CLEARANCE_MM for one in nodules)


def _radii(parents: Array, own: Array) -> Array:
    """Every piece's radius in mm: what its tips and branches add up to."""
    flow = own**JOINING
    for point in range(len(parents) - 1, 0, -1):
        flow[parents[point]] += flow[point]
    return np.asarray(flow ** (1 / JOINING))
