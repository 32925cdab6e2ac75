"""A Slurm of one node, which this machine is."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DAEMONS = "munged", "slurmctld", "slurmd"
CONF = """ClusterName=one
SlurmctldHost={host}
AuthType=auth/munge
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
NodeName={host} CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""


@contextmanager
def slurm() -> Iterator[dict[str, str]]:
    """The environment in which Slurm's commands find it. Skips the test where Debian's package is missing."""
    missing = [name for name in DAEMONS if not shutil.which(name)]
    if missing or os.geteuid():
        pytest.skip("needs Debian's slurm-wlm, and root")
    folder = Path("/tmp") / f"medseg-test-slurm-{os.getpid()}"  # sockets' paths are short
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(CONF.format(host=host, folder=folder, cores=len(os.sched_getaffinity(0))))
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    if subprocess.run(["munge", "-n"], capture_output=True).returncode:
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        subprocess.run(["runuser", "-u", "munge", "--", str(shutil.which("munged"))], check=True)
    running = [subprocess.Popen([name, "-D"], env=environment) for name in ("slurmctld", "slurmd")]
    try:
        yield environment
    finally:
        for one in running:
            one.kill()
            one.wait()
        shutil.rmtree(folder)
