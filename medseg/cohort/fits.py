"""A sweep's fits on a Ray cluster, side by side; one whose node is lost goes on from its last epoch on another."""

from __future__ import annotations

import ctypes
import signal
from collections import Counter
from collections.abc import Iterator, Sequence

import ray
from ray.exceptions import RayError, RayTaskError

from medseg.cohort.on_ray import connect
from medseg.errors import MedsegError
from medseg.train.sweep import Asked, Fits, Tell, carry_out

_LOSSES = 3  # of nodes, until a fit is given up
_WAIT_S = 1.0
_PR_SET_PDEATHSIG = 1


def on_ray(address: str, cores: int, gpus: int) -> Fits:
    """What carries fits out on a cluster, each with so many cores and GPUs of one node.

    Its folders must be seen by every node. Raises InputError where no cluster is there.
    """

    def fits(asked: Sequence[Asked], tell: Tell) -> Iterator[Asked]:
        connect(address)
        started = ray.remote(_carried_out).options(num_cpus=cores, num_gpus=gpus, max_retries=0)
        running = {started.remote(one): one for one in asked}
        lost: Counter[str] = Counter()
        while running:
            tell(f"{len(running)} left")
            ready, _ = ray.wait(list(running), timeout=_WAIT_S)
            for call in ready:
                one = running.pop(call)
                if _ended(call, one, lost):
                    yield one
                else:
                    running[started.remote(one)] = one

    return fits


def _ended(call: ray.ObjectRef[None], one: Asked, lost: Counter[str]) -> bool:
    """Whether a fit has ended; False where its node was lost. Raises MedsegError where it failed."""
    try:
        ray.get(call)
        return True
    except RayTaskError as error:
        if isinstance(error.cause, MedsegError):
            raise error.cause from None
        raise
    except RayError as error:
        lost[str(one.folder)] += 1
        if lost[str(one.folder)] >= _LOSSES:
            raise MedsegError(
                f"fit {one.folder} was lost {_LOSSES} times with its worker or node; expected a worker that stays: "
                "give the same command again to continue"
            ) from error
        return False


def _carried_out(one: Asked) -> None:
    """Run a fit on this machine; its process ends with this one, so that no two processes write the same run."""
    carry_out(one, lambda _: None, _with_parent)


def _with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
