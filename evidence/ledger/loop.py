"""Group commit on the event loop: how ``POST records`` writes when nothing is unusual.

Who writes is told by a callback, without a task. The loop prepares records one by one, looking at the network in
between, and one task writes them in batches through a connection of its own, as `evidence/ledger/store.py` does. While
PostgreSQL works, the next batch is being prepared (docs/performance.md). A batch costs about the same whatever is in
it: while several write, the next one waits for a moment for more of them, or what is busy with half of its load already
has nothing left for an overload. Who writes alone waits for nobody.

What is not ordinary goes `TheLongWay`, through a thread that may ask the database: a record that hangs on others or on
tables that this process does not remember, one that was recorded before or is to be refused. So everything that is
said to a writer but its receipt is said there, and nothing twice.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections

from config.database import leave_connection
from config.errors import UnavailableError
from evidence import projections
from evidence.ledger import head, rows, store, wire
from evidence.ledger.appender import MAX_GROUP, PATIENCE_SECONDS, not_in_time
from evidence.ledger.draft import Draft, Placed

logger = logging.getLogger(__name__)

Make = Callable[[], Draft]
#: Is told what became of a record, once: where it was placed, TheLongWay, or UnavailableError.
Tell = Callable[[Placed | Exception], None]

#: Seconds from when one batch had the head until the next one asks for it, where not all who may be expected are there
#: before. Counted from its own beginning, processes that once began together would wait for each other every time.
CADENCE = 0.0235


class TheLongWay(Exception):  # noqa: N818 -- no error, a direction
    """Nothing was written: ask again where the database may be asked."""


@dataclass(eq=False)
class _Item:
    make: Make
    tell: Tell
    _told: bool = False

    def settle(self, outcome: Placed | Exception) -> None:
        """The first outcome counts. What goes wrong in telling it concerns nobody else in the batch."""
        if not self._told:
            self._told = True
            try:
                self.tell(outcome)
            except Exception:
                logger.exception("a writer could not be told what became of its record")


def write(make: Make, tell: Tell) -> None:
    """Write what `make` makes from memory, on the running loop, and `tell` what became of it: TheLongWay, and
    UnavailableError ``ledger_busy``, ``ledger_unavailable`` where it may have been written."""
    _running().take(_Item(make, tell))


_appender: "_LoopAppender | None" = None


def stop() -> None:
    """Leave the connection of a loop that has ended."""
    global _appender
    appender, _appender = _appender, None
    if appender is not None:
        appender.close()


def _running() -> "_LoopAppender":
    """This loop's; a fork, or a test, has another."""
    global _appender
    if _appender is None or _appender.loop is not asyncio.get_running_loop():
        _appender = _LoopAppender()
    return _appender


class _LoopAppender:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._inbox: deque[_Item] = deque()
        self._ready: list[tuple[_Item, Draft]] = []
        self._preparing: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._connection = connections.create_connection(DEFAULT_DB_ALIAS)
        self._connection.inc_thread_sharing()
        self._line: wire.Line | None = None
        #: When the last batch had the head, and how many may be expected in the next: as many as lately, one less each
        #: time.
        self._had_head, self._expected = 0.0, 0
        self._enough = asyncio.Event()

    def close(self) -> None:
        self._hang_up()
        self._connection.close()

    def take(self, item: _Item) -> None:
        """Prepare what is to be written now, or in its turn."""
        if self._preparing is not None and not self._preparing.done():
            self._inbox.append(item)
        else:
            self._prepare_one(item)
            self._preparing = self.loop.create_task(self._prepare_in_turns())

    async def _prepare_in_turns(self) -> None:
        await asyncio.sleep(0)
        while self._inbox:
            self._prepare_one(self._inbox.popleft())
            await asyncio.sleep(0)

    def _prepare_one(self, item: _Item) -> None:
        try:
            draft = item.make()
            if not _is_ordinary(draft):
                raise TheLongWay
            rows.spelled(draft)
        except UnavailableError as refused:  # nothing that asking the database would change
            item.settle(refused)
        except Exception:  # also that the database may not be asked here; the long way says what it was
            item.settle(TheLongWay())
        else:
            self._ready.append((item, draft))
            if len(self._ready) >= self._expected:
                self._enough.set()
            if self._writing is None or self._writing.done():
                self._writing = self.loop.create_task(self._write())

    async def _write(self) -> None:
        while self._ready:
            await self._gather()
            group, self._ready = self._ready[:MAX_GROUP], self._ready[MAX_GROUP:]
            self._expected = max(len(group), self._expected - 1)
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._write_group(group)
            except TimeoutError:
                self._hang_up()
                for item, _ in group:
                    item.settle(not_in_time())
            except Exception:  # the long way says what it was
                await self._roll_back()
            for item, _ in group:
                item.settle(TheLongWay())

    async def _gather(self) -> None:
        """Until all who may be expected are ready, or it is time: one large batch is less work than two."""
        if len(self._ready) < self._expected:
            self._enough.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._had_head + CADENCE):
                    await self._enough.wait()
        while self._inbox:  # those who came before it was time come along, however busy the network is meanwhile
            self._prepare_one(self._inbox.popleft())

    async def _write_group(self, group: Sequence[tuple[_Item, Draft]]) -> None:
        line = self._line if self._line is not None and self._line.is_open else await self._connect()
        drafts = [draft for _, draft in group]
        question = head.Question(drafts)
        answer = wire.answer(await line.send(wire.question(question.call)))
        self._had_head = self.loop.time()
        batch = store.Batch(drafts, question.start(answer))
        for position in batch.waiting:
            if not store.is_ahead(batch, drafts[position]):
                store.accept(batch, position)
        if not batch.rows or batch.followed:
            await self._roll_back()
            return
        calls, settle = store.closing(batch)
        try:
            await line.send(wire.order(*calls, commit=True))
        except psycopg.OperationalError as error:
            for row in batch.rows:
                group[row.position][0].settle(store.lost(error))
            raise
        head.saw_size(batch.size)
        for position, placed in settle().items():
            group[position][0].settle(placed)

    async def _connect(self) -> wire.Line:
        await asyncio.to_thread(self._call)
        self._line = wire.Line(self._connection.connection.pgconn)
        return self._line

    def _call(self) -> None:
        """Make a connection, in place of one that fell silent, to a database that the outside is not ahead of."""
        own, connections[DEFAULT_DB_ALIAS] = connections[DEFAULT_DB_ALIAS], self._connection
        try:
            leave_connection()
            head.greet()
        except Exception:
            leave_connection()
            raise
        finally:
            connections[DEFAULT_DB_ALIAS] = own

    async def _roll_back(self) -> None:
        """Leave the transaction; where that fails, its connection."""
        try:
            if self._line is not None and self._line.is_open:
                await self._line.send([wire.ROLLBACK])
        except psycopg.Error:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._line is not None:
            self._line.close()


def _is_ordinary(draft: Draft) -> bool:
    """Whether it can be judged and written by what every batch asks and tells."""
    hangs_on_others = draft.remembered is None or draft.admit is not None or draft.apply is not None
    return not hangs_on_others and not projections.takes_effect(draft.kind.name, draft.sealed.members)
