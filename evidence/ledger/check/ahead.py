"""Ranges of entries examined ahead of where they are needed, by other processes where that pays."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from types import TracebackType

import django
from django.db import connection

from config.errors import UnavailableError
from evidence.ledger.check import worker
from evidence.ledger.check.entries import Examined, Examiner

#: Entries of a range: two tiles.
RANGE = 512
#: Below this, starting processes takes longer than they save.
WORTH_PROCESSES = 50_000


class Ranges:
    """Yields what ranges say, in order. With `jobs` of 0 or 1, or few entries, this process examines them itself."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._pool: ProcessPoolExecutor | None = None
        self._examiner: Examiner | None = None

    def __enter__(self) -> "Ranges":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def examine(self, start: int, end: int) -> Iterator[Examined]:
        """The entries of [start, end), range by range."""
        if self._jobs > 1 and (self._pool is not None or end - start >= WORTH_PROCESSES):
            yield from self._by_others(start, end)
        else:
            self._examiner = self._examiner or Examiner()
            for first, last in _split(start, end):
                yield self._examiner.examine(first, last)

    def _by_others(self, start: int, end: int) -> Iterator[Examined]:
        pool = self._pool = self._pool or _start(self._jobs)
        database = {name: connection.settings_dict[name] for name in ("NAME", "HOST", "PORT", "USER", "PASSWORD")}
        waiting: deque[Future[Examined]] = deque()
        try:
            for first, last in _split(start, end):
                waiting.append(pool.submit(worker.examine, database, first, last))
                if len(waiting) > 2 * self._jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise UnavailableError(
                "A process of the check was ended from outside (out of memory?). Run it again, or with --jobs 1.",
                code="check_interrupted",
            ) from None
        finally:
            for future in waiting:
                future.cancel()


def _split(start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        last = min(end, start - start % RANGE + RANGE)
        yield start, last
        start = last


def _start(jobs: int) -> ProcessPoolExecutor:
    """Processes of their own, not forks: this one holds a connection to the database, and may have threads."""
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=django.setup)
