"""Signs of life on standard error, for whatever takes longer than a second: a bar in a terminal, lines in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from config.cli import output

_QUIET_SECONDS = 1.0
_SECONDS_A_LINE = 10.0
Advance = Callable[[int], None]


@contextmanager
def of_bytes(what: str, total: int) -> Iterator[Advance]:
    """Call the value with each number of bytes that is done. Nothing is shown for what takes less than a second."""
    shown: _Bar | _Lines = _Bar(what, total) if sys.stderr.isatty() else _Lines(what, total)
    try:
        yield shown.advance
    finally:
        shown.close()


class _Bar:
    def __init__(self, what: str, total: int) -> None:
        columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
        self._progress = Progress(*columns, TimeRemainingColumn(), console=output.console(stderr=True), transient=True)
        self._task = self._progress.add_task(output.plain(what), total=total)
        self._from = time.monotonic() + _QUIET_SECONDS

    def advance(self, done: int) -> None:
        self._progress.advance(self._task, done)
        if not self._progress.live.is_started and time.monotonic() >= self._from:
            self._progress.start()

    def close(self) -> None:
        self._progress.stop()


class _Lines:
    """A line at once after a second, then one every ten."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        self._next = time.monotonic() + _QUIET_SECONDS

    def advance(self, done: int) -> None:
        self._done += done
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS_A_LINE
            share = 100 * self._done // self._total if self._total else 100
            output.note(f"{self._what}: {share} % of {self._total / 1e6:,.1f} MB")

    def close(self) -> None:
        pass
