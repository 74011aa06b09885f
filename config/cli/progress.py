"""Signs of life on standard error, for whatever takes longer than a second: a bar in a terminal, lines in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from config.cli import output

_QUIET_SECONDS = 1.0
_SECONDS_A_LINE = 10.0


class Shown:
    """How much is done of something that may take long."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self.done = what, total, 0
        self._next = time.monotonic() + _QUIET_SECONDS

    def advance(self, by: int) -> None:
        self.at(self.done + by)

    def at(self, done: int) -> bool:
        """True if that is further than before."""
        further, self.done = done > self.done, min(done, self._total)
        self._show()
        return further

    def close(self) -> None:
        """The work has ended, however."""

    def _show(self) -> None:
        """A line after a second, then one every ten."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS_A_LINE
            share = 100 * self.done // self._total if self._total else 100
            output.note(f"{self._what}: {share} % of {self._total / 1e6:,.1f} MB")


class _Bar(Shown):
    def __init__(self, what: str, total: int) -> None:
        super().__init__(what, total)
        columns = [TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()]
        self._progress = Progress(*columns, TimeRemainingColumn(), console=output.console(stderr=True), transient=True)
        self._task = self._progress.add_task(output.plain(what), total=total)

    def close(self) -> None:
        self._progress.stop()

    def _show(self) -> None:
        self._progress.update(self._task, completed=self.done)
        if not self._progress.live.is_started and time.monotonic() >= self._next:
            self._progress.start()


@contextmanager
def of_bytes(what: str, total: int) -> Iterator[Shown]:
    """Tell the value how many bytes are done. Nothing is shown for what takes less than a second."""
    shown = _Bar(what, total) if sys.stderr.isatty() else Shown(what, total)
    try:
        yield shown
    finally:
        shown.close()
