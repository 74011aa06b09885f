"""Memory of a process and all that it started, sampled from outside."""

import threading
from pathlib import Path
from types import TracebackType

_EVERY_SECONDS = 0.2


class Watch:
    """A ``with`` block; `peak` and `first` are bytes of PSS, which counts pages that processes share only once."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.first = 0
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            now = sum(_pss(pid) for pid in family(self.pid))
            self.first = self.first or now
            self.peak = max(self.peak, now)
            if self._done.wait(_EVERY_SECONDS):
                return


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for member in found:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            try:
                found += [int(child) for child in children.read_text().split()]
            except OSError:  # it ended meanwhile
                continue
    return found


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
