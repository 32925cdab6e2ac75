"""The front as a process: its doors come as JSON on stdin, "open" goes to stdout, and it ends with its parent."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from medseg.triton_models.front import http, rpc
from medseg.triton_models.front.again import Replaced
from medseg.triton_models.front.doors import Doors, drain_seconds
from medseg.triton_models.front.guard import clean_up
from medseg.triton_models.heap import settle
from medseg.triton_models.pulse import start_beating


async def _run(doors: Doors, owner: int) -> None:
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    replaced = Replaced()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, replaced.tell)  # from who watches the models
    listening = await http.listen(doors, replaced)
    server = await rpc.listen(doors, replaced)
    settle()
    start_beating()
    print("open", flush=True)
    await stop.wait()
    for one in listening:
        one.close()
    await server.stop(grace=drain_seconds() if os.getppid() == owner else 0)


def main() -> None:
    """Open the doors, and guard what is behind them."""
    owner, doors = os.getppid(), Doors(**json.load(sys.stdin))
    try:
        asyncio.run(_run(doors, owner))
    except OSError as error:
        sys.exit(f"the front did not open: {error}")
    finally:
        if os.getppid() != owner:
            clean_up(Path(doors.sockets), owner)


if __name__ == "__main__":
    main()
