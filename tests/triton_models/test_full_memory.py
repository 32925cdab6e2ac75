"""A /dev/shm without room, as a container's is: one clear error for who sends too much, and the server goes on."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

pytest.importorskip("pytriton")
pytest.importorskip("tritonclient.grpc")
from tests.full_disk import needs_mount

# In a mount namespace of its own, where /dev/shm is as small as a test likes.
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from medseg.data.byte_strings import framed
from medseg.engines.triton import TritonModel
from medseg.errors import InputError, ServerError
from medseg.tasks import task_named
from medseg.triton_models.repository import write
from medseg.triton_models.server import serving

folder, model = Path(sys.argv[1]), "gi-tract-check-step"
write(folder / "models", task_named("gi-tract"), [])
told = []
with serving(folder / "models", [model], folder / "log") as server:
    for size in (100, 24 << 20, 100):
        for url in (server.url, f"grpc://127.0.0.1:{server.ports.grpc}"):
            client = TritonModel(url, model)
            try:
                client.ask({"encoded": np.zeros(size, np.uint8)}, ("size",))
            except (InputError, ServerError) as error:
                told.append(str(error))
            client.close()
print(json.dumps(told))
"""


@needs_mount
def test_what_has_no_room_in_shared_memory_is_refused_and_the_server_goes_on(tmp_path: Path) -> None:
    small = 'mount -t tmpfs -o size=12m tmpfs /dev/shm && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", small, "sh", sys.executable, "-c", PROGRAM, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert len(told) == 6
    assert all("/dev/shm, has no room for this request's tensors; expected more" in one for one in told[2:4]), told
    assert all("expected" in one and "room" not in one for one in told[:2] + told[4:]), told  # zeros are no picture
