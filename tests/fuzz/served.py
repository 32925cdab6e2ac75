"""Damaged pictures and tensors on the real server: refused in one sentence, or answered as the plain functions answer.

Whoever reaches the server may ask each step's model by itself, so each step gets what no step before it made.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.encoded import encoded_tensor
from medseg.engines.triton import TritonModel
from medseg.errors import MedsegError, ServerError
from medseg.task import Array, Geometry, Networks, Pipeline, Step, Tensors, refuse_unsound, run_step
from medseg.tasks import task_named
from medseg.tasks.luna.pipeline import geometry_tensor
from medseg.triton_models.repository import swapped, write
from medseg.triton_models.server import Server, serving
from medseg.triton_models.stubs import processes
from tests.dali_pipelines.damage import damaged
from tests.fuzz.outcomes import SECONDS, Campaign, Outcome, outcome
from tests.fuzz.pictures import FORMATS, TOLERANCE
from tests.tasks.test_unsound_networks import sound_network

ALONE = {"luna": ("split", "report"), "brain-lgg": ("normalise", "answer")}  # steps that ask no network
ALONE |= {"gi-tract": ("answer",), "stas": ("masks", "vote")}
FIRST = ("check", "decode")
KINDS = ("uint8", "int16", "int32", "int64", "float16", "float32", "float64", "bool")
EXTREMES = (np.nan, np.inf, -np.inf, 1e300, -1, 0, 2**31 - 1, -(2**31), 2**62, 8192, 4096, 0.5)


@contextmanager
def serving_steps(folder: Path) -> Iterator[Server]:
    """Every step that asks no network, as a model of its own."""
    names = []
    for name in ALONE:
        write(folder / "models", task_named(name), [], swapped(task_named(name), "dali"))
        names += [f"{name}-{step}-step" for step in (*FIRST, *ALONE[name]) if (name, step) not in _NONE]
    with serving(folder / "models", names, folder / "triton.log") as server:
        yield server


_NONE = [("luna", step) for step in FIRST]


def asked(server: Server, task: str, step: str, tensors: Tensors, outputs: tuple[str, ...]) -> Tensors:
    """What a step's model answers. Raises InputError for a refusal, RuntimeError for what else is no answer."""
    texts = frozenset(wire.name for wire in task_named(task).pipeline.tensors if wire.dtype == "bytes")
    model = TritonModel(f"grpc://127.0.0.1:{server.ports.grpc}", f"{task}-{step}-step", texts, timeout_s=SECONDS)
    try:
        return model.ask(tensors, outputs)
    except ServerError as error:
        if "answered with" in str(error):  # what a network would have answered, which the step refuses
            raise
        raise RuntimeError(str(error)) from error
    finally:
        model.close()


def same(found: Tensors, expected: Tensors) -> bool:
    """Whether tensors are equal, but for what decoders may differ by."""
    return found.keys() == expected.keys() and all(_same(found[name], expected[name]) for name in found)


def _same(found: Array, expected: Array) -> bool:
    if found.dtype == object:
        return bool(found.tolist() == expected.tolist())
    return found.shape == expected.shape and bool(
        np.allclose(found, expected, rtol=1e-5, atol=TOLERANCE, equal_nan=True)
    )


def pictures(server: Server, name: str, count: int, _: Path, seed: int) -> Iterator[Outcome]:
    """A format's pictures through `check` and `decode`."""
    task, whole = FORMATS[name]
    check, decode = task_named(task).pipeline.steps[:2]

    def read(data: bytes) -> Tensors:
        packed = asked(server, task, "check", {"encoded": encoded_tensor([data])}, check.outputs)
        return asked(server, task, "decode", {"packed": packed["packed"]}, decode.outputs)

    def plain(data: bytes, found: Tensors) -> bool:
        tensors = _plainly(check, {"encoded": encoded_tensor([data])})
        return tensors is not None and same(found, _plainly(decode, tensors) or {})

    wanted, before = read(whole), processes(server)
    for number, data in enumerate(damaged(whole, count, seed)):
        word = outcome(partial(read, data), lambda found: same(found, wanted), partial(plain, data))
        yield word, f"{name}, number {number}"
    if processes(server) != before:
        yield "crash: a process ended", name


def _plainly(step: Step, tensors: Tensors) -> Tensors | None:
    """What the step's plain function makes of tensors that its pipeline lets through; None where it is refused."""
    try:
        return run_step(step, tensors, _no_network)
    except MedsegError:
        return None


def _no_network(name: str) -> Any:
    raise AssertionError(f"{name} was asked")


def tensors(server: Server, task: str, name: str, count: int, _: Path, seed: int) -> Iterator[Outcome]:
    """A step's tensors, of which one is not what it was."""
    pipeline, rng = task_named(task).pipeline, np.random.default_rng(seed)
    step = next(step for step in pipeline.steps if step.name == name)
    whole = wires(task)
    taken = {wire: whole[wire] for wire in step.inputs if wire in whole}

    def expected(given: Tensors, found: Tensors) -> bool:
        here = _here(pipeline, step, given)
        return here is not None and same(found, here)

    wanted, before = asked(server, task, name, taken, step.outputs), processes(server)
    for number in range(count):
        what, given = hurt(rng, taken)
        read = partial(asked, server, task, name, given, step.outputs)
        yield (
            outcome(read, lambda found: same(found, wanted), partial(expected, given)),
            f"{task} {name} {number} {what}",
        )
    if processes(server) != before:
        yield "crash: a process ended", f"{task} {name}"


def _here(pipeline: Pipeline, step: Step, given: Tensors) -> Tensors | None:
    """What the step answers in this process, looked at as on a server; None where it is refused."""
    networks = {network.name: network for network in pipeline.networks}
    try:
        pipeline.check(step, given)
        for other in pipeline.steps:
            if isinstance(other.run, str) and other.outputs[0] in given:
                network, logits = networks[other.run], given[other.outputs[0]]
                refuse_unsound(network, (len(logits), *network.input_shape), logits)
    except MedsegError:
        return None
    return _plainly(step, given)


def hurt(rng: np.random.Generator, whole: Tensors) -> tuple[str, Tensors]:
    """What was done to one of the tensors, and all of them."""
    name = str(rng.choice(sorted(whole)))
    array, others = whole[name], {other: one for other, one in whole.items() if other != name}
    match int(rng.integers(8)):
        case 0:
            return f"{name} lacks", others
        case 1:
            kind = str(rng.choice(KINDS))
            other = np.zeros(array.shape, kind) if array.dtype == object else array.astype(kind)
            return f"{name} as {kind}", others | {name: other}
        case 2:
            axis = int(rng.integers(array.ndim))
            return f"{name} cut", others | {name: np.take(array, range(int(rng.integers(array.shape[axis] + 1))), axis)}
        case 3 if array.dtype != object:  # texts cross the wire without axes
            return f"{name} with an axis more", others | {name: array[None]}
        case 4:
            return f"{name} twice", others | {name: np.concatenate([array, array])}
        case 5 if array.dtype != object and array.ndim > 1:
            return f"{name} turned", others | {name: np.ascontiguousarray(array.T)}
    return f"{name} with other values", others | {name: _other_values(rng, array)}


def _other_values(rng: np.random.Generator, array: Array) -> Array:
    changed = array.copy()
    flat = changed.reshape(-1)
    for place in rng.integers(max(1, flat.size), size=int(rng.integers(1, 4))):
        if flat.size == 0:
            break
        if array.dtype == object:
            flat[place] = [*damaged(flat[place], 20, int(place))][int(rng.integers(20))] if flat[place] else b"x"
        else:
            with np.errstate(all="ignore"):
                flat[place] = np.array(rng.choice(EXTREMES)).astype(array.dtype)
    return changed


def wires(task: str) -> Tensors:
    """Every wire of a pipeline that answers a small, whole question."""
    pipeline = task_named(task).pipeline
    known = _question(task)
    networks = _sound(pipeline)
    for step in pipeline.steps:
        known |= run_step(step, {name: known[name] for name in step.inputs if name in known}, networks)
    return known


def _question(task: str) -> Tensors:
    if task == "luna":
        ct = np.random.default_rng(0).integers(-1000, 1000, (9, 64, 72)).astype(np.int16)
        geometry = geometry_tensor(Geometry((1.0, 1.0, 2.0)))
        return {"ct": ct, "geometry": geometry, "threshold": np.zeros(1, np.float32)}
    whole = next(data for of, data in FORMATS.values() if of == task)
    return {"encoded": encoded_tensor([whole] * (3 if task == "brain-lgg" else 1))}


def _sound(pipeline: Pipeline) -> Networks:
    return {network.name: sound_network(network) for network in pipeline.networks}.__getitem__


def campaigns(server: Server) -> dict[str, Campaign]:
    """All of them, on this server."""
    made = {f"served {name}": Campaign(partial(pictures, server, name), clear=0.2, share=0.4) for name in FORMATS}
    steps = [(task, step) for task, names in ALONE.items() for step in names]
    made |= {
        f"served tensors, {task} {step}": Campaign(partial(tensors, server, task, step), clear=0.3)
        for task, step in steps
    }
    return made


NAMES = [f"served {name}" for name in FORMATS]
NAMES += [f"served tensors, {task} {step}" for task, names in ALONE.items() for step in names]
