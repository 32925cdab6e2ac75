"""Sets of weights in a checkpoint, found by structure: at any place and under any prefix.

A checkpoint is read as one tree of names: the keys of its dictionaries, split at their dots. A set of weights is a node
of the tree with the network's names under it. The path to the node gives the set's name and prefix. Wrappers add more
nodes in between, as in `unet._orig_mod.last`; these are skipped where only one way is possible.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from medseg.errors import InputError

State = Mapping[str, torch.Tensor]
Path = tuple[str, ...]
Tree = dict[str, Any]  # a name -> a Tree, or a tensor

_MOST = 1_000_000  # values in a checkpoint
_LONGEST = 64  # names in a path
_DEEPEST = 4  # nested wrappers
_AVERAGED = {"ema", "emas", "averaged", "average", "swa", "shadow", "polyak", "teacher"}
# Names in a network's dictionary that are not a part of the network.
_BESIDE = {"loss", "losses", "criterion", "criteria", "metric", "metrics", *_AVERAGED}
_COUNTERS = ("n_averaged", "total_ops", "total_params")


@dataclass(frozen=True)
class WeightSet:
    """One set of weights: its tensors by the network's names, and where they lie in the file."""

    name: str  # the path to it, or "the top level"
    state: dict[str, torch.Tensor]  # unknown tensors among them are included, under their own names
    averaged: bool  # whether it is an exponential moving average or a similar one
    prefix: str = ""  # the common start of its keys in the file
    wrappers: tuple[str, ...] = ()  # names within keys that were skipped
    beside: tuple[str, ...] = ()  # keys of losses, metrics, counters and averages in the same dictionary
    among_others: bool = False  # whether it was chosen from several

    def told(self, left_out: Sequence[str]) -> dict[str, object]:
        """The manifest's record of how the set was taken from its file; `left_out` are the prefixes of unused keys."""
        known = {
            "weights": self.name if self.among_others else None,
            "prefix": self.prefix,
            "wrappers": list(self.wrappers),
            "left_out": left_out,
            "beside": list(self.beside),
        }
        return {name: value for name, value in known.items() if value}

    @property
    def readable(self) -> bool:
        """Whether its tensors have the network's names."""
        return bool(self.state)


@dataclass(frozen=True)
class _Leaf:
    tensor: torch.Tensor
    home: int  # how many names of its path lead to the dictionary that holds it


def weight_sets(content: Any, expected: State) -> list[WeightSet]:
    """The sets of weights in a checkpoint's content that hold all `expected` names; else the one that holds most.

    Of several complete sets, only those whose shapes fit are returned, if there are any. An average under other names
    is added. The list is empty where not a single name is found. Raises InputError for too many values.
    """
    leaves = _leaves(content)
    wanted = _tree({_split(key): key for key in expected})
    nodes = [path for path, node in _nodes(_tree(leaves)) if not wanted.keys().isdisjoint(node)]
    sets = [_set(path, leaves, wanted) for path in nodes]
    # Batch norms that were saved before PyTorch 0.4.1 lack the counter of batches; inference does not read it.
    needed = [key for key in expected if not key.endswith("num_batches_tracked")]
    covered = [sum(key in one.state for key in needed) for one in sets]
    whole = [one for one, count in zip(sets, covered, strict=True) if count == len(needed)]
    if not whole:
        return [sets[covered.index(max(covered))]] if any(covered) else []
    fitting = [one for one in whole if all(one.state[key].shape == expected[key].shape for key in needed)] or whole
    return [*fitting, *_under_other_names(leaves, fitting)]


def chosen(sets: list[WeightSet], which: str | None) -> WeightSet:
    """The set that `which` selects: None, `plain`, `ema`, a set's name, or one part of the name between dots.

    Raises InputError where no set is selected, or several that differ, or one without the network's names.
    """
    meant = [one for one in sets if _is(one, which)]
    names = " and ".join(one.name for one in sets)
    if not meant:
        raise InputError(f"has no weights {which!r}; it has {names}: choose --weights from these")
    if len(meant) > 1 and not all(_equal(meant[0], one) for one in meant[1:]):
        raise InputError(
            f"has {len(meant)} sets of weights that differ, {names}; choose one of them: add --weights plain, "
            "--weights ema, or --weights with one of these names"
        )
    if not meant[0].readable:
        raise InputError(f"has weights at {meant[0].name} that lack the network's names: save them as a state_dict")
    return replace(meant[0], among_others=len(sets) > 1)


def _is(one: WeightSet, which: str | None) -> bool:
    if which in (None, "plain", "ema"):
        return which is None or one.averaged == (which == "ema")
    return which == one.name or which in _split(one.name)


def _equal(one: WeightSet, other: WeightSet) -> bool:
    return one.state.keys() == other.state.keys() and all(
        value.dtype == other.state[key].dtype and torch.equal(value, other.state[key])
        for key, value in one.state.items()
    )


def _leaves(content: Any) -> dict[Path, _Leaf]:
    """Every tensor by its path, without the states of optimizers. Raises InputError for over 1,000,000 values."""
    found = {}
    for count, (path, value, home) in enumerate(_walk((), content, 0)):
        if count > _MOST:
            raise InputError(f"holds over {_MOST:,} values; expected a network's weights: save its state_dict alone")
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            value = torch.from_numpy(value.copy())
        if isinstance(value, torch.Tensor):
            found[path] = _Leaf(value, home)
    return found


def _walk(path: Path, value: Any, home: int) -> Iterator[tuple[Path, Any, int]]:
    yield path, value, home
    if len(path) > _LONGEST:
        return
    if isinstance(value, Mapping) and not {"state", "param_groups"} <= set(map(str, value)):
        for key, entry in value.items():
            yield from _walk((*path, *_split(str(key))), entry, len(path))
    elif isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            yield from _walk((*path, str(index)), entry, home)


def _split(key: str) -> Path:
    return tuple(key.split("."))


def _tree(leaves: Mapping[Path, Any]) -> Tree:
    """The leaves as a tree; where a name is both a leaf and a branch, the branch."""
    root: Tree = {}
    for path, leaf in leaves.items():
        node = root
        for name in path[:-1]:
            if not isinstance(node.get(name), dict):
                node[name] = {}
            node = node[name]
        if path and path[-1] not in node:
            node[path[-1]] = leaf
    return root


def _nodes(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Tree]]:
    yield path, tree
    for name, below in tree.items():
        if isinstance(below, dict):
            yield from _nodes(below, (*path, name))


def _set(path: Path, leaves: Mapping[Path, _Leaf], wanted: Tree) -> WeightSet:
    """The tensors under a path by the wanted names, with the other tensors of the same dictionary."""
    under = {place[len(path) :]: leaf for place, leaf in leaves.items() if place[: len(path)] == path}
    ours, wrappers = _aligned(wanted, _tree(under))
    home = min((under[place].home for place in ours), default=len(path))
    among = {place: leaf.tensor for place, leaf in under.items() if leaf.home == home and place not in ours}
    extras = {place: tensor for place, tensor in among.items() if not _lies_beside(place)}
    together = (place for place, leaf in leaves.items() if leaf.home == home and place[:home] == path[:home])
    kept = {(*path, *place) for place in (*ours, *extras)}
    state = {name: under[place].tensor for place, name in ours.items()}
    state |= {".".join(place): tensor for place, tensor in extras.items()}
    beside = tuple(".".join(place[home:]) for place in together if place not in kept)
    return WeightSet(
        name=".".join(path) or "the top level",
        state=state,
        averaged=any(map(_is_averaged, path)) or "n_averaged" in beside,
        prefix="".join(f"{name}." for name in path[home:]),
        wrappers=tuple(dict.fromkeys(wrappers)),
        beside=beside,
    )


def _aligned(wanted: Tree, node: Tree, place: Path = ()) -> tuple[dict[Path, str], list[str]]:
    """The wanted names by the places of a node's tensors, and the wrappers on the ways to them."""
    ours: dict[Path, str] = {}
    wrappers: list[str] = []
    for part, below in wanted.items():
        way = _way(part, node, wanted)
        if not way:
            continue
        found = node
        for name in way:
            found = found[name]
        if isinstance(below, dict) and isinstance(found, dict):
            deeper, more = _aligned(below, found, (*place, *way))
            ours |= deeper
            wrappers += [*way[:-1], *more]
        elif not isinstance(below, dict) and not isinstance(found, dict):
            ours[(*place, *way)] = below
            wrappers += way[:-1]
    return ours, wrappers


def _way(part: str, node: Tree, wanted: Tree) -> Path:
    """The way from a node to the part of this name, directly or through wrappers; () where there is none or several."""
    level: list[tuple[Path, Tree]] = [((), node)]
    for _ in range(_DEEPEST + 1):
        hits = [way for way, one in level if part in one]
        if hits:
            return (*hits[0], part) if len(hits) == 1 else ()
        level = [
            ((*way, name), below)
            for way, one in level
            for name, below in one.items()
            if isinstance(below, dict) and name not in wanted
        ]
    return ()


def _lies_beside(place: Path) -> bool:
    return place[-1] in _COUNTERS or bool(_words(place[0]) & _BESIDE)


def _is_averaged(name: str) -> bool:
    return bool(_words(name) & _AVERAGED)


def _words(name: str) -> set[str]:
    """The words of a name in lower case; `stateDict_ema` has state, dict and ema."""
    return set(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_"))


def _under_other_names(leaves: Mapping[Path, _Leaf], sets: Collection[WeightSet]) -> list[WeightSet]:
    """An average of the weights without the network's names, found by the shapes of its tensors; at most one.

    Such an average is a list of tensors, or has keys without dots.
    """
    known = {id(tensor) for one in sets for tensor in one.state.values()}
    averages = {
        path: leaf.tensor
        for path, leaf in leaves.items()
        if any(map(_is_averaged, path)) and id(leaf.tensor) not in known
    }
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    shapes = Counter(tuple(value.shape) for key, value in next(iter(sets)).state.items() if not key.endswith(buffers))
    if not averages or not shapes <= Counter(tuple(value.shape) for value in averages.values()):
        return []
    first = next(iter(averages))
    end = next(index for index, name in enumerate(first, 1) if _is_averaged(name))
    return [WeightSet(".".join(first[:end]), {}, averaged=True)]
