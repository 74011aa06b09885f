"""Group commit: the writers of one process share a transaction.

Writers hand over what makes their records. Whoever comes while nobody writes leads: it takes what waits, prepares it,
writes one batch and wakes the others; what has come meanwhile it leaves to the appender's thread. So a lone writer is
not put to sleep and woken, and under load one thread prepares for all: thirty that take turns spend more on taking
turns than on the work (docs/performance.md). All of them write through one connection that is the appender's. Celery
and commands write through the same ``store.write`` without any of this.

An appender belongs to its process (a fork starts its own).
"""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from itertools import islice

from django.db import DEFAULT_DB_ALIAS, connection, connections

from config.errors import ProoftrailError, UnavailableError
from evidence.ledger import store
from evidence.ledger.draft import Draft, Outcome, Placed

#: Records that wait longer than this answer 503; the retry's key settles whether they were written.
PATIENCE_SECONDS = 30
#: The most records that share a transaction: keeps a batch, and so every answer in it, short.
MAX_GROUP = 256

#: Makes the drafts of one writer; they stay together and in order.
Make = Callable[[], Sequence[Draft]]


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
            raise UnavailableError(
                "The record was not confirmed in time. Send it again with the same Idempotency-Key: it is recorded "
                "once.",
                code="ledger_busy",
                retry_after=2,
            )
        if self._error is not None:
            raise self._error
        return self._outcomes


_lock = threading.Lock()
_grouped = False
_appender: "_Appender | None" = None


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
    return write(lambda: drafts)


def write(make: Make) -> list[Outcome]:
    """Write what `make` makes, in order; what it raises is raised."""
    if _alone():
        return store.write(_sealed(make))
    item = _Item(make)
    _running().write(item)
    return item.wait()


def start(make: Make) -> Callable[[], list[Outcome]]:
    """Like `write`, but return at once; calling the answer waits for the outcomes."""
    if _alone():
        return lambda: store.write(_sealed(make))
    item = _Item(make)
    _running().leave(item)
    return item.wait


def _alone() -> bool:
    """Whether this thread writes by itself. One inside a transaction does not: the record must not vanish with it."""
    if connection.in_atomic_block or not _grouped:
        return not connection.in_atomic_block
    if connection.connection is not None:
        # A waiting writer holds no connection: the pool is smaller than the number of writers, and the appender's
        # own would not be left for it.
        connection.close()
    return False


def _sealed(make: Make) -> Sequence[Draft]:
    """The drafts, with everything computed that the head's lock should not wait for."""
    drafts = make()
    for draft in drafts:
        _ = draft.sealed
    return drafts


def stop() -> None:
    """End the appender and its connection, after what waits is written; the process no longer groups."""
    global _grouped, _appender
    with _lock:
        appender, _appender, _grouped = _appender, None, False
    if appender is not None and appender.pid == os.getpid():
        appender.stop()


def _running() -> "_Appender":
    global _appender
    if _appender is None or _appender.pid != os.getpid():
        with _lock:
            if _appender is None or _appender.pid != os.getpid():
                _appender = _Appender()
    return _appender


class _Appender:
    """What waits to be written, and who sees to it.

    One thread at a time leads: it prepares what waits, and passes the lead on as soon as its turn to write has come.
    So a batch is prepared while the one before it is written.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._inbox: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._lead = threading.Lock()
        self._turn = threading.Lock()
        #: Released to give a thread the lead.
        self._called = threading.Semaphore(0)
        self._stopped = False
        self._connection = connections.create_connection(DEFAULT_DB_ALIAS)
        self._connection.inc_thread_sharing()
        self._threads = [threading.Thread(target=self._run, name=f"ledger-appender-{n}", daemon=True) for n in (1,)]
        for thread in self._threads:
            thread.start()

    def write(self, item: _Item) -> None:
        """Write an item, or leave it to who leads."""
        self._inbox.put(item)
        if self._lead.acquire(blocking=False):
            self._write_batch()

    def leave(self, item: _Item) -> None:
        """Leave an item to who leads, be it a thread of the appender."""
        self._inbox.put(item)
        if self._lead.acquire(blocking=False):
            self._called.release()

    def stop(self) -> None:
        self._lead.acquire()
        while group := self._gather():
            self._settle(group)
        self._connection.close()
        self._stopped = True
        self._called.release(len(self._threads))
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while self._called.acquire() and not self._stopped:
            self._write_batch()

    def _write_batch(self) -> None:
        """Who leads prepares one batch, passes the lead on, and writes."""
        if not (group := self._gather()):
            self._pass_on()
            return
        with self._turn:
            self._settle(group)
        self._pass_on()

    def _pass_on(self) -> None:
        """Give the lead to a thread, or up where nothing waits. What comes in between is not left lying."""
        if self._inbox.empty():
            self._lead.release()
            if self._inbox.empty() or not self._lead.acquire(blocking=False):
                return
        self._called.release()

    def _gather(self) -> list[_Item]:
        """Prepare what waits, and all that has come by then."""
        group: list[_Item] = []
        count = 0
        while count < MAX_GROUP:
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                break
            try:
                item.drafts = _sealed(item.make)
            except BaseException as error:
                item.fail(error)
            else:
                group.append(item)
                count += len(item.drafts)
        if connection.connection is not None:
            connection.close()  # what was looked up is; the pool is small
        return group

    def _settle(self, group: Sequence[_Item]) -> None:
        own, connections[DEFAULT_DB_ALIAS] = connections[DEFAULT_DB_ALIAS], self._connection
        try:
            outcomes = iter(store.write([draft for item in group for draft in item.drafts]))
        except BaseException as error:
            for item in group:
                item.fail(error)
            connection.close()
        else:
            for item in group:
                item.settle(list(islice(outcomes, len(item.drafts))))
        finally:
            connections[DEFAULT_DB_ALIAS] = own
