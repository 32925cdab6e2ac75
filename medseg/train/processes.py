"""The processes of one fit: started by Lightning for each device, or by torchrun, Slurm or Ray on several machines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import distributed

from medseg.errors import InputError, MedsegError, RunError
from medseg.train.settings import Settings

_STEP = "SLURM_STEP_NUM_TASKS"  # only srun sets it: a batch script, whose processes Lightning starts, does not have it
_SLURM = {"RANK": "SLURM_PROCID", "LOCAL_RANK": "SLURM_LOCALID", "WORLD_SIZE": _STEP}
# What torch's errors say if another process of a fit is gone; their types differ between versions.
_GONE = ("gloo", "Gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe")


class Joint:
    """This process as one of a fit's processes. The first one leads: it makes the run and then tells the others."""

    def __init__(self, outside: bool) -> None:
        self.outside = outside  # whether the processes were not started by Lightning
        self.leads = os.environ.get("RANK" if outside else "LOCAL_RANK", "0") == "0"
        self._told = False

    def plugins(self) -> list[Any]:
        """What Lightning must know about how the processes were started."""
        return [TorchElasticEnvironment()] if self.outside else []

    def tell(self, reason: str = "") -> None:
        """Tell the others to continue, or why the fit cannot begin. Only the first call counts."""
        if self.outside and self.leads and not self._told:
            self._told = True
            distributed.broadcast_object_list([reason])

    def hear(self) -> None:
        """Wait for the leader's word. Raises RunError with its reason, so that every process ends by the same one."""
        if self.outside and not self.leads:
            words: list[Any] = [None]
            distributed.broadcast_object_list(words)
            if words[0]:
                raise RunError(words[0])

    def end(self) -> None:
        """Wait until the run is whole, which the leader writes."""
        if self.outside:
            distributed.barrier()


ALONE = Joint(outside=False)


def is_first() -> bool:
    """Whether this process is the only one of a fit, or the first of those that were started from outside."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined(settings: Settings) -> Iterator[Joint]:
    """This process among those of its fit.

    Raises InputError where others were started than the settings say, RunError where one of them is lost.
    """
    outside = _started_outside(settings)
    met_here = outside and not distributed.is_initialized()  # Ray Train lets them meet before it calls
    if met_here:
        _meet()
    joint = Joint(outside)
    try:
        yield joint
    except Exception as error:
        with suppress(RuntimeError):  # the others may have ended too
            joint.tell(str(error))
        if settings.processes > 1 and not isinstance(error, MedsegError) and _is_of_another(error):
            raise RunError(
                "another process of this fit ended, or cannot be reached; expected all of them until its end: read "
                "what that one wrote, and continue with `medseg train --resume`"
            ) from error
        raise
    finally:
        if met_here and distributed.is_initialized():
            distributed.destroy_process_group()


def _started_outside(settings: Settings) -> bool:
    """Whether torchrun, Slurm or Ray started this process as one of several. Raises InputError for a wrong number."""
    if settings.processes > 1 and "RANK" not in os.environ and int(os.environ.get(_STEP, 1)) > 1:
        _as_torchrun_says()
    started = int(os.environ.get("WORLD_SIZE", 1)) if "RANK" in os.environ else 1
    if started == 1 and settings.nodes > 1:
        raise InputError(
            f"--nodes is {settings.nodes}, and this process was started alone; expected torchrun, srun or Ray to start "
            f"{settings.processes} of them: see docs/training.md"
        )
    if started > 1 and started != settings.processes:
        raise InputError(
            f"--nodes {settings.nodes} --devices {settings.devices} are {settings.processes} processes, but {started} "
            "were started; expected the same number: choose --nodes and --devices to match"
        )
    place = int(os.environ.get("LOCAL_RANK", 0)) if started > 1 else 0
    if place >= settings.devices:
        raise InputError(
            f"--devices is {settings.devices}, but at least {place + 1} processes were started on this machine; "
            "expected --devices of them on each of --nodes machines: choose both to match"
        )
    return started > 1


def _as_torchrun_says() -> None:
    """Slurm's variables for the rank of a process, as torch reads them. Raises InputError for another way to start."""
    try:
        slurm = SLURMEnvironment()
    except RuntimeError as error:  # --ntasks, which may spread the processes unevenly
        raise InputError(f"srun was not started as expected: {error}") from error
    os.environ |= {name: os.environ[word] for name, word in _SLURM.items()}
    os.environ |= {"MASTER_ADDR": slurm.main_address, "MASTER_PORT": str(slurm.main_port)}


def _meet() -> None:
    """Join the group of all processes, over which gradients go too: NCCL on GPUs, gloo on CPUs."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    try:
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    except Exception as error:
        where = f"{os.environ.get('MASTER_ADDR', '?')}:{os.environ.get('MASTER_PORT', '?')}"
        raise RunError(
            f"the processes of this fit did not meet at {where} ({str(error).splitlines()[0]}); expected all of them "
            "there: check that each machine reaches that address"
        ) from error


def _is_of_another(error: BaseException) -> bool:
    return any(word in str(error) for word in _GONE)
