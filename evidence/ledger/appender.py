"""Group commit: the writers of one process share a transaction.

A web process has one appender thread, started on first use and keyed by process id (a fork starts its own).
It takes what waits, prepares it, writes one batch and wakes its writers. That one thread prepares for all is on
purpose: thirty that take turns spend more on taking turns than on the work (docs/performance.md). Celery and commands
write through the same ``store.write`` without the thread.
"""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

from django.db import connection

from config.database import once_more
from config.errors import ProoftrailError, UnavailableError
from evidence.ledger import rows, store
from evidence.ledger.draft import Draft, Outcome, Placed

#: Records that wait longer than this answer 503; the retry's key settles whether they were written.
PATIENCE_SECONDS = 30
#: The most records that share a transaction: keeps a batch, and so every answer in it, short.
MAX_GROUP = 256

#: Makes the drafts of one writer; they stay together and in order.
Make = Callable[[], Sequence[Draft]]


def not_in_time() -> UnavailableError:
    return UnavailableError(
        "The record was not confirmed in time. Send it again with the same Idempotency-Key: it is recorded once.",
        code="ledger_busy",
        retry_after=2,
    )


class _Item:
    """What one writer hands over, and where it waits for what becomes of it."""

    def __init__(self, make: Make) -> None:
        self.make = make
        self.drafts: Sequence[Draft] = ()
        self._outcomes: list[Outcome] = []
        self._error: BaseException | None = None
        self._done = threading.Lock()  # held until there is an answer: the cheapest thing to wait for
        self._done.acquire()

    def settle(self, outcomes: list[Outcome]) -> None:
        self._outcomes = outcomes
        try:
            for outcome in outcomes:
                if isinstance(outcome, Placed):
                    outcome.receipt()  # is kept: one thread makes them all in less time than each its own
        finally:
            self._done.release()

    def fail(self, error: BaseException) -> None:
        """The writer must hear of it, whatever it is."""
        self._error = error
        self._done.release()

    def wait(self) -> list[Outcome]:
        if not self._done.acquire(timeout=PATIENCE_SECONDS):
            raise not_in_time()
        if self._error is not None:
            raise self._error
        return self._outcomes


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
    return start(lambda: drafts)()


def start(make: Make) -> Callable[[], list[Outcome]]:
    """Hand over what makes records and return; calling the answer waits for their outcomes, in order.

    What `make` raises, the answer raises.
    """
    # Inside a caller's transaction (the admin opens one) the write must not wait for, or vanish with, that one.
    if not _grouped and not connection.in_atomic_block:
        return lambda: store.write(_sealed(make))
    if not connection.in_atomic_block and connection.connection is not None:
        # A waiting writer holds no connection: the pool is smaller than the number of writers, and the appender's
        # own would not be left for it.
        connection.close()
    item = _Item(make)
    _running().inbox.put(item)
    return item.wait


def _sealed(make: Make) -> Sequence[Draft]:
    """The drafts, with everything computed that the head's lock should not wait for."""
    drafts = make()
    for draft in drafts:
        rows.spelled(draft)
    return drafts


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


class _Appender(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="ledger-appender", daemon=True)
        self.pid = os.getpid()
        self.inbox: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()

    def run(self) -> None:
        try:
            while (item := self.inbox.get()) is not None:
                self._write(self._gather(item))
        finally:
            connection.close()

    def _gather(self, item: _Item | None) -> list[_Item]:
        """Prepare an item and all that have come by then."""
        group, count = [], 0
        while item is not None:
            try:
                item.drafts = once_more(partial(_sealed, item.make))
            except BaseException as error:
                item.fail(error)
            else:
                group.append(item)
                count += len(item.drafts)
            item = self._next() if count < MAX_GROUP else None
        return group

    def _next(self) -> _Item | None:
        try:
            item = self.inbox.get_nowait()
        except queue.Empty:
            return None
        if item is None:
            self.inbox.put(None)  # told to stop: after this batch
        return item

    def _write(self, group: list[_Item]) -> None:
        try:
            outcomes = iter(store.write([draft for item in group for draft in item.drafts]) if group else ())
        except BaseException as error:
            for item in group:
                item.fail(error)
            connection.close()
            return
        for item in group:
            item.settle(list(islice(outcomes, len(item.drafts))))
