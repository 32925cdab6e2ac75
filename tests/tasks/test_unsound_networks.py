"""What a broken network answers (NaN, infinity, a strange shape) is an error naming it, and never an empty answer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import EngineError
from medseg.task import Array, Infer, Network, Networks, Task, Tensors, refuse_unsound, sound
from medseg.tasks import network_named, task_named
from tests.own import OWN

NETWORKS = [network for task in OWN for network in task_named(task).networks]


def _one(value: float, place: int) -> Callable[[Array], Array]:
    def changed(logits: Array) -> Array:
        logits = logits.copy()
        logits.reshape(-1)[place] = value
        return logits

    return changed


DAMAGES: dict[str, Callable[[Array], Array]] = {
    "all nan": lambda logits: np.full_like(logits, np.nan),
    "one nan first": _one(np.nan, 0),
    "one nan last": _one(np.nan, -1),
    "one infinity": _one(np.inf, 0),
    "one minus infinity": _one(-np.inf, -1),
    "both infinities": lambda logits: _one(np.inf, 0)(_one(-np.inf, -1)(logits)),
    "float16 that overflowed": lambda logits: np.full(logits.shape, np.inf, np.float16),
    "channels last": lambda logits: np.moveaxis(logits, 1, -1) if logits.ndim > 2 else logits.T[:1],
    "a class too many": lambda logits: np.concatenate([logits, logits[:, :1]], 1),
    "a class for each row": lambda logits: np.repeat(logits[:, :1], 224, 1),
    "no classes": lambda logits: logits[:, :0],
    "no batch axis": lambda logits: logits[0],
    "an axis too many": lambda logits: logits[..., np.newaxis],
    "an answer too many": lambda logits: np.concatenate([logits, logits[:1]]),
    "no answer": lambda logits: logits[:0],
    "one number": lambda logits: logits.sum(),
    "half the rows": lambda logits: logits[..., ::2] if logits.ndim > 2 else logits[:, :1],
}


def sound_network(network: Network) -> Infer:
    """An answer as it should be: where the input is brightest something is found."""

    def infer(batch: Array) -> Array:
        shape = network.answer_shape(batch.shape)
        level = batch.mean(axis=tuple(range(1, batch.ndim)), keepdims=True)
        if len(shape) == 2:
            return np.concatenate([-level.reshape(-1, 1) - 999, level.reshape(-1, 1) + 999], 1).astype(np.float32)
        return np.repeat(batch.max(1, keepdims=True) - level, shape[1], 1).astype(np.float32)

    return infer


def _with(task: Task, broken: str, damage: Callable[[Array], Array]) -> Networks:
    known = {network.name: sound_network(network) for network in task.networks}
    return lambda name: (lambda batch: damage(known[name](batch))) if name == broken else known[name]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensors]:
    """One phantom's question for each task."""
    questions = {}
    for name in OWN:
        folder = tmp_path_factory.mktemp(name)
        questions[name] = _question(task_named(name), folder)
    return questions


def _question(task: Task, folder: Path) -> Tensors:
    task.known_data("test").phantom(folder, 1, 0)
    layout = task.known_data("test")
    return layout.cases(folder, layout.patients(folder)[0])[0].ask()


@pytest.mark.parametrize("name", OWN)
def test_sound_networks_are_let_through(asked: dict[str, Tensors], name: str) -> None:
    task = task_named(name)
    answer = task.pipeline(asked[name], _with(task, "", lambda logits: logits))
    assert all(np.isfinite(value).all() for value in answer.values() if value.dtype.kind == "f")


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
@pytest.mark.parametrize("damage", ["one nan last", "one infinity", "a class too many"])
def test_the_pipeline_names_the_broken_network(asked: dict[str, Tensors], network: Network, damage: str) -> None:
    task = next(task for task in map(task_named, OWN) if network in task.networks)
    with pytest.raises(EngineError, match=rf"network '{network.name}' answered"):
        task.pipeline(asked[task.name], _with(task, network.name, DAMAGES[damage]))


@pytest.mark.parametrize("name", ["gi-tract", "luna-nodule", "brain-lgg", "luna-segment"])
@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_every_unsound_answer_is_refused(name: str, damage: str) -> None:
    network = network_named(name)
    shape = tuple(64 if axis in network.free_axes else size for axis, size in enumerate(network.input_shape, 1))
    batch = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    infer = sound_network(network)
    assert np.array_equal(sound(network, infer)(batch), infer(batch))
    with pytest.raises(EngineError, match=f"network '{name}' answered") as caught:
        sound(network, lambda batch: DAMAGES[damage](infer(batch)))(batch)
    assert "\n" not in str(caught.value)


def test_large_but_finite_answers_are_let_through() -> None:
    """Their sum is no float32 any more; the answer is sound all the same."""
    network = network_named("gi-tract")
    refuse_unsound(network, (1, 3, 64, 64), np.full((1, 3, 64, 64), 3e38, np.float32))
    refuse_unsound(network, (0, 3, 64, 64), np.zeros((0, 3, 64, 64), np.float32))


def test_torchs_answers_are_looked_at_where_they_lie() -> None:
    torch = pytest.importorskip("torch")
    network, answer = network_named("gi-tract"), torch.zeros(1, 3, 64, 64)
    refuse_unsound(network, (1, 3, 64, 64), answer)
    answer[0, 1, 2, 3] = torch.nan
    with pytest.raises(EngineError, match="NaN or infinity"):
        refuse_unsound(network, (1, 3, 64, 64), answer)
