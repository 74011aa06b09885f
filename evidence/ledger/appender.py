"""Group commit: the writers of one process share a transaction.

A web process has one appender thread, started on first use and keyed by process id (a fork starts its own).
It takes what waits, writes one batch and wakes its writers. Celery and commands write through the same
``store.write`` without the thread.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from functools import partial
from itertools import islice

from django.db import connection

from config.errors import ProoftrailError, UnavailableError
from evidence.ledger import store
from evidence.ledger.draft import Draft, Outcome, Placed

#: Records that wait longer than this answer 503; the retry's key settles whether they were written.
PATIENCE_SECONDS = 30
#: The most records that share a transaction: keeps a batch, and so every answer in it, short.
MAX_GROUP = 256
#: A batch waits this long at most for writers that are on their way (docs/performance.md): a transaction costs as much
#: as preparing several records.
GATHER_SECONDS = 0.005

#: Drafts of one writer, which stay together and in order, and where their outcomes go.
_Item = tuple[Sequence[Draft], "Future[list[Outcome]]"]
_lock = threading.Lock()
_grouped = False
_thread: "_Appender | None" = None


def group_commits() -> None:
    """Make this process share transactions between its threads. The web server calls it once."""
    global _grouped
    _grouped = True


def append(draft: Draft) -> Placed:
    """Write one record; return when it is durable, included and covered by a signed checkpoint.

    Raises the ProoftrailError that refused it.
    """
    (outcome,) = append_all([draft])
    if isinstance(outcome, ProoftrailError):
        raise outcome
    return outcome


def append_all(drafts: Sequence[Draft]) -> list[Outcome]:
    """Write several records in order; for each its place, or the error that refused it alone."""
    return start(drafts)()


def start(drafts: Sequence[Draft]) -> Callable[[], list[Outcome]]:
    """Hand records over and return; calling the answer waits for their outcomes, in order."""
    for draft in drafts:
        _ = draft.sealed  # the writer computes what the lock should not wait for
    arrivals.arrived()
    # Inside a caller's transaction (the admin opens one) the write must not wait for, or vanish with, that one.
    if not _grouped and not connection.in_atomic_block:
        return partial(store.write, drafts)
    if not connection.in_atomic_block:
        # A waiting writer holds no connection: the pool is smaller than the number of writers, and the appender's
        # own would not be left for it.
        connection.close()
    future: Future[list[Outcome]] = Future()
    _running().inbox.put((drafts, future))
    return partial(_await, future)


def _await(future: "Future[list[Outcome]]") -> list[Outcome]:
    try:
        return future.result(PATIENCE_SECONDS)
    except FutureTimeoutError:
        raise UnavailableError(
            "The record was not confirmed in time. Send it again with the same Idempotency-Key: it is recorded once.",
            code="ledger_busy",
            retry_after=2,
        ) from None


def stop() -> None:
    """End the thread and its connection, after what waits is written; the process no longer groups."""
    global _grouped, _thread
    with _lock:
        thread, _thread, _grouped = _thread, None, False
    if thread is not None and thread.pid == os.getpid():
        thread.inbox.put(None)
        thread.join(PATIENCE_SECONDS)


def _running() -> "_Appender":
    global _thread
    with _lock:
        if _thread is None or _thread.pid != os.getpid() or not _thread.is_alive():
            _thread = _Appender()
            _thread.start()
        return _thread


class Arrivals:
    """How many writers of this process are preparing a record: a batch waits a moment for them."""

    def __init__(self) -> None:
        self.expected = 0
        self._lock = threading.Lock()
        self._mine = threading.local()

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Around everything that a writer does; it is expected until it hands a record over."""
        self._count(1)
        self._mine.here = True
        try:
            yield
        finally:
            self.arrived()

    def arrived(self) -> None:
        if getattr(self._mine, "here", False):
            self._mine.here = False
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self.expected += change


arrivals = Arrivals()


class _Appender(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="ledger-appender", daemon=True)
        self.pid = os.getpid()
        self.inbox: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()

    def run(self) -> None:
        try:
            while (group := self._take()) is not None:
                self._write(group)
        finally:
            connection.close()

    def _take(self) -> list[_Item] | None:
        """Wait for one writer and take all that came with it; None when told to stop."""
        first = self.inbox.get()
        if first is None:
            return None
        group, count = [first], len(first[0])
        until = time.monotonic() + GATHER_SECONDS
        while count < MAX_GROUP and (item := self._next(until)) is not None:
            group.append(item)
            count += len(item[0])
        return group

    def _next(self, until: float) -> _Item | None:
        """Who waits, or comes before `until` while somebody is known to be coming."""
        try:
            if not arrivals.expected:
                item = self.inbox.get_nowait()
            else:
                item = self.inbox.get(timeout=max(until - time.monotonic(), 0))
        except queue.Empty:
            return None
        if item is None:
            self.inbox.put(None)  # told to stop: after this batch
        return item

    def _write(self, group: list[_Item]) -> None:
        try:
            outcomes = iter(store.write([draft for drafts, _ in group for draft in drafts]))
        except BaseException as error:  # the writers must hear of it, whatever it is
            for _, future in group:
                future.set_exception(error)
            connection.close()
            return
        for drafts, future in group:
            future.set_result(list(islice(outcomes, len(drafts))))
