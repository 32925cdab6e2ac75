"""The front as a process: `python -m medseg.triton_models.front OWNER FOLDER`, the parent and the sockets' folder.

It waits for its doors, as JSON on stdin, opens them and writes their ports to stdout, or why it cannot. It ends when
its parent does.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from medseg.triton_models.front import http, rpc
from medseg.triton_models.front.again import Replaced
from medseg.triton_models.front.doors import Doors, drain_seconds
from medseg.triton_models.front.guard import ORPHANED, clean_up, is_gone
from medseg.triton_models.heap import settle
from medseg.triton_models.pulse import start_beating


async def _run(doors: Doors, owner: int, told: list[int]) -> None:
    """Serve until a signal comes; `told` then holds it. Later ones change nothing, after the loop's end too."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def end(number: int, _: object) -> None:
        told.append(number)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(stop.set)

    for sign in (signal.SIGTERM, signal.SIGINT, ORPHANED):
        signal.signal(sign, end)
    if os.getppid() != owner:  # its signal came before anybody listened
        end(ORPHANED, None)
    replaced = Replaced()
    loop.add_signal_handler(signal.SIGUSR1, replaced.tell)  # from who watches the models
    listening, ports = await http.listen(doors, replaced)
    server, ports["grpc_port"] = await rpc.listen(doors, replaced)
    settle()
    start_beating()
    if not _told_owner(ports=ports):
        end(ORPHANED, None)
    await stop.wait()
    for one in listening:
        one.close()
    await server.stop(grace=0 if ORPHANED in told else drain_seconds())


def _told_owner(**words: object) -> bool:
    """Whether the owner can hear this; a dying one closes its pipes before the kernel says that it died."""
    try:
        print(json.dumps(words), flush=True)
    except BrokenPipeError:
        return False
    return True


def main() -> None:
    """Open the doors when they are told, and guard what is behind them from the first moment."""
    owner, sockets, told = int(sys.argv[1]), Path(sys.argv[2]), list[int]()
    doors = sys.stdin.read()  # ends without a word where the owner does
    try:
        if doors:
            asyncio.run(_run(Doors(**json.loads(doors)), owner, told))
    except OSError as error:
        if not _told_owner(refused=str(error)):
            told.append(ORPHANED)
        sys.exit(1)
    finally:
        if (ORPHANED in told or not doors) and is_gone(owner):
            clean_up(sockets, owner)


if __name__ == "__main__":
    main()
