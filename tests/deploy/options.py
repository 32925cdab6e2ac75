"""The options of the tritonserver that is here."""

import re
import subprocess

from medseg.triton_models.wheel import environment, wheel


def server_options() -> set[str]:
    """Every option that its --help names."""
    told = subprocess.run([str(wheel() / "bin/tritonserver"), "--help"], env=environment(), capture_output=True)
    return set(re.findall(r"--[a-z-]+", (told.stdout + told.stderr).decode()))
