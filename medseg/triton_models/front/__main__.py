"""The front as a process: its doors come as JSON on stdin, "open" goes to stdout, and it ends with its parent."""

from __future__ import annotations

import asyncio
import json
import signal
import sys

from medseg.triton_models.front import http, rpc
from medseg.triton_models.front.doors import Doors


async def _run(doors: Doors) -> None:
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    listening = await http.listen(doors)
    server = await rpc.listen(doors)
    print("open", flush=True)
    await stop.wait()
    for one in listening:
        one.close()
    await server.stop(grace=0)


if __name__ == "__main__":
    try:
        asyncio.run(_run(Doors(**json.load(sys.stdin))))
    except OSError as error:
        sys.exit(f"the front did not open: {error}")
