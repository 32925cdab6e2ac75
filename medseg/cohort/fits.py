"""A sweep's fits on a Ray cluster, side by side; if a node is lost, its fit continues elsewhere from its last epoch."""

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

_LOSSES = 3  # how often a fit may lose its node before it is given up
_WAIT_S = 1.0
_PR_SET_PDEATHSIG = 1


def on_ray(address: str, cores: int, gpus: int) -> Fits:
    """A function that carries fits out on a cluster, each with this many cores and GPUs of one node.

    Every node must see the fits' folders. The function raises InputError if there is no cluster.
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
    """Whether a fit has ended; False if its node was lost. Raises MedsegError if the fit failed."""
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
