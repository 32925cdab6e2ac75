"""What somebody of the same machine tries on a server, as a program: started by the tests as another user.

Its arguments are the ports of HTTP and gRPC, the process id of tritonserver, and the user to become (0: the same); it
prints what succeeded, as JSON.
"""

import base64
import encodings.idna  # noqa: F401 - before the user is another one, who may not read it
import http.client
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from tritonclient import grpc

CODE = base64.b64encode(b"import pathlib; pathlib.Path('/tmp/medseg-intruder').touch()").decode()
LOAD = {"parameters": {"config": '{"backend": "python"}', "file:1/model.py": CODE}}
POSTS = {
    "/v2/repository/index": {},
    "/v2/repository/models/evil/load": LOAD,
    "/v2/repository/models/gi-tract-check-step/unload": {},
    "/v2/repository/models/gi-tract-check-step/unload?x=1": {},
    "/v2//repository/index": {},
    "/v2/models/../repository/index": {},
    "//v2/repository/index": {},
    "/v2/systemsharedmemory/region/r/register": {"key": "/medseg-region", "byte_size": 1},
    "/v2/systemsharedmemory/unregister": {},
    "/v2/cudasharedmemory/region/r/register": {},
    "/v2/trace/setting": {"trace_file": "/tmp/medseg-intruder"},
    "/v2/logging": {"log_file": "/tmp/medseg-intruder"},
}
GETS = ("/v2", "/v2/systemsharedmemory/status", "/v2/trace/setting", "/v2/logging", "/v2/cudasharedmemory/status")


def over_http(port: int) -> dict[str, int]:
    """The requests that were answered with 200."""
    found = {}
    asked = [("POST", path, json.dumps(body)) for path, body in POSTS.items()] + [("GET", path, None) for path in GETS]
    for method, path, body in asked:
        for headers in ({"Content-Type": "text/plain"}, {"Origin": "https://evil.example"}, {"medseg-key": ""}):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request(method, path, body, headers)
            if (status := connection.getresponse().status) < 400:
                found[f"{method} {path}"] = status
            connection.close()
    return found


def over_grpc(port: int) -> list[str]:
    """The calls that were answered."""
    client = grpc.InferenceServerClient(f"127.0.0.1:{port}")
    calls: dict[str, Callable[[], object]] = {
        "metadata": client.get_server_metadata,  # what everybody may ask
        "index": client.get_model_repository_index,
        "load": lambda: client.load_model("evil", config="{}", files={"file:1/model.py": CODE.encode()}),
        "unload": lambda: client.unload_model("gi-tract-check-step"),
        "register": lambda: client.register_system_shared_memory("r", "/medseg-region", 1),
        "status": client.get_system_shared_memory_status,
        "unregister": client.unregister_system_shared_memory,
        "cuda": client.get_cuda_shared_memory_status,
        "trace": client.get_trace_settings,
        "log": client.get_log_settings,
    }
    return [name for name, call in calls.items() if _succeeds(call)]


def on_files(server: int) -> list[str]:
    """Sockets of tritonserver's command line that can be connected to; keys and tensors that can be read."""
    words = Path(f"/proc/{server}/cmdline").read_text().split("\0")
    sockets = [word.split("unix:")[1] for word in words if "unix:" in word]
    memory = list(Path("/dev/shm").glob(f"medseg*_{os.getppid()}_*"))  # of the server that the test started
    found = [
        path for path in [*sockets, *(f"{path}:1" for path in sockets)] if _succeeds(lambda path=path: _connect(path))
    ]
    return found + [str(path) for path in memory if _succeeds(path.read_bytes)]


def _connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(path)


def _succeeds(call: Callable[[], object]) -> bool:
    try:
        call()
    except Exception:
        return False
    return True


if __name__ == "__main__":
    http_port, grpc_port, pid, user = map(int, sys.argv[1:])
    if user:  # only now: the other user may not read this Python's files
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    print(json.dumps({"http": over_http(http_port), "grpc": over_grpc(grpc_port), "files": on_files(pid)}))
