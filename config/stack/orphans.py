"""Children of a supervisor that was killed: found, told from strangers, and ended before the next start."""

import os
import signal
import sys
from pathlib import Path

from config.stack.processes import MARKER, end_orphan, wait_until
from config.stack.state import State, remember


def end_orphans(state: State) -> int:
    """End what the last run left, services before engines; the answer is how many were alive.

    1. A recorded child is ended if pid, start time and command line are all still the recorded ones.
    2. On Linux, children of those children carry the folder's own mark in their environment.
    """
    alive = [child for child in state.children if child.is_alive()]
    for child in reversed(alive):
        end_orphan(child)
    marked = _marked(state.marker)
    for pid in marked:
        _kill(pid)
    wait_until(lambda: not _marked(state.marker), timeout=5)
    remember(state, [])
    return len(alive) + len(marked)


def _marked(marker: str) -> list[int]:
    if sys.platform != "linux":
        return []
    wanted = f"{MARKER}={marker}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in variables:
                found.append(int(entry.name))
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
