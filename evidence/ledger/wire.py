"""A batch's two messages to PostgreSQL, straight through libpq: by a thread that waits, or by an event loop.

Each is a pipeline of several statements: ``BEGIN`` with the question, the rows with ``COMMIT``. Values travel in
PostgreSQL's binary format: spelled as text, the bytes of a record take twelve times as long to read as the rest of it.
The driver sends each statement by itself and takes longer over one than PostgreSQL does (docs/performance.md);
Django's transaction stays around them and finds the connection in the state that they leave.
"""

import asyncio
import functools
import json
import select
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
from django.db import connection
from psycopg import pq

#: Text in PostgreSQL's spelling; bytes are its binary format, also of whole arrays (`literals`).
Value = str | bytes | int | datetime | None
#: A function with its parameters.
Call = tuple[str, Iterable[Value]]


class Statement(NamedTuple):
    """Its text, parameters, and which of them are binary. One with a name is planned once for each connection."""

    text: bytes
    values: Sequence[bytes | None] = ()
    formats: Sequence[int] = ()
    name: bytes = b""


_BEGIN, _COMMIT, ROLLBACK = map(Statement, (b"BEGIN", b"COMMIT", b"ROLLBACK"))


def raw() -> "psycopg.Connection[Any]":
    """The driver's connection under Django's."""
    connection.ensure_connection()
    found: psycopg.Connection[Any] = connection.connection
    return found


def ask(call: Call) -> dict[str, Any]:
    """Begin the transaction and call a function that answers one row; the row as JSON has it."""
    return answer(_send(question(call)))


def tell(*calls: Call, commit: bool) -> None:
    """Call functions that answer nothing; with `commit` the transaction's end travels with them."""
    _send(order(*calls, commit=commit))


def question(call: Call) -> list[Statement]:
    """The message that begins the transaction and asks."""
    return [_BEGIN, _statement("SELECT row_to_json(answer) FROM {} AS answer", call)]


def answer(result: pq.abc.PGresult) -> dict[str, Any]:
    """What was answered to a question."""
    found: dict[str, Any] = json.loads(result.get_value(0, 0) or b"")
    return found


def order(*calls: Call, commit: bool) -> list[Statement]:
    """The message that calls functions, and ends the transaction."""
    statements = [_statement("SELECT {}", call) for call in calls]
    return [*statements, _COMMIT] if commit else statements


def _statement(form: str, call: Call) -> Statement:
    function, parameters = call
    values, formats = zip(*map(_parameter, parameters), strict=True)
    return Statement(_text(form, function, len(values)), values, formats, function.encode())


@functools.cache
def _text(form: str, function: str, count: int) -> bytes:
    return form.format(f"{function}({','.join(f'${number}' for number in range(1, count + 1))})").encode()


def _parameter(value: Value) -> tuple[bytes | None, pq.Format]:
    if isinstance(value, bytes):
        return value, pq.Format.BINARY
    if isinstance(value, datetime):
        value = value.isoformat()
    return str(value).encode() if value is not None else None, pq.Format.TEXT


_DONE = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
#: The named statements that a connection knows.
_planned: "weakref.WeakKeyDictionary[pq.abc.PGconn, set[bytes]]" = weakref.WeakKeyDictionary()


class _Exchange:
    """One message and the results that come back, on a connection that answers nothing else meanwhile."""

    def __init__(self, database: pq.abc.PGconn, message: Iterable[Statement]) -> None:
        """Raises psycopg.OperationalError."""
        self._database = database
        self._known = _planned.setdefault(database, set())
        #: For each result to come the name that it plans, if any.
        self._plans: deque[bytes] = deque()
        #: The last statement's result, or the first that failed; what stands behind that is not done.
        self._result: pq.abc.PGresult | None = None
        database.enter_pipeline_mode()
        for statement in message:
            self._send(statement)
        database.pipeline_sync()

    def _send(self, statement: Statement) -> None:
        text, values, formats, name = statement
        if not name:
            self._database.send_query_params(text, values, param_formats=formats)
        else:
            if name not in self._known:
                self._database.send_prepare(name, text)
                self._plans.append(name)
            self._database.send_query_prepared(name, values, param_formats=formats)
        self._plans.append(b"")

    def read(self) -> bool:
        """Take the results that have arrived; whether there are no more to come."""
        while not self._database.is_busy():
            result = self._database.get_result()
            if result is None:  # between two statements; also what a dead connection answers for ever
                if self._database.status == pq.ConnStatus.BAD:
                    return True
            elif result.status == pq.ExecStatus.PIPELINE_SYNC:
                self._database.exit_pipeline_mode()
                return True
            else:
                self._take(result)
        return False

    def _take(self, result: pq.abc.PGresult) -> None:
        planned = self._plans.popleft() if self._plans else b""
        if planned and result.status == pq.ExecStatus.COMMAND_OK:
            self._known.add(planned)  # also where what follows fails: plans are no part of the transaction
        if self._result is None or self._result.status in _DONE:
            self._result = result

    @property
    def result(self) -> pq.abc.PGresult:
        """Raises psycopg.Error."""
        result = self._result
        if self._database.status == pq.ConnStatus.BAD or result is None:
            raise psycopg.OperationalError((result or self._database).get_error_message())
        if result.status not in _DONE:
            raise psycopg.errors.error_from_result(result)
        return result


def _send(message: Iterable[Statement]) -> pq.abc.PGresult:
    """The last statement's result; the first that fails ends the message. Raises Django's DatabaseError."""
    database = raw().pgconn
    with connection.wrap_database_errors:
        exchange, both = _Exchange(database, message), select.POLLIN | select.POLLOUT
        waits = select.poll()
        while not exchange.read():
            waits.register(database.socket, both if database.flush() else select.POLLIN)
            waits.poll()
            database.consume_input()
        return exchange.result


class Line:
    """A connection that an event loop waits for; one message at a time. Raises psycopg.Error."""

    def __init__(self, database: pq.abc.PGconn) -> None:
        self.database = database
        self._loop = asyncio.get_running_loop()
        self._socket = database.socket
        self._exchange: _Exchange | None = None
        self._waiting: asyncio.Future[pq.abc.PGresult] | None = None
        self.is_open = True
        self._loop.add_reader(self._socket, self._read)

    async def send(self, message: Iterable[Statement]) -> pq.abc.PGresult:
        """The last statement's result, as of `_send`."""
        self._waiting = self._loop.create_future()
        try:
            self._exchange = _Exchange(self.database, message)
            self._flush()
        except psycopg.OperationalError:
            self.close()
            raise
        return await self._waiting

    def close(self) -> None:
        """End the connection, and with it the transaction: others wait for its locks."""
        if self.is_open:
            self.is_open = False
            if not self._loop.is_closed():
                self._loop.remove_reader(self._socket)
                self._loop.remove_writer(self._socket)
            self.database.finish()

    def _flush(self) -> None:
        if self.database.flush():
            self._loop.add_writer(self._socket, self._flush)
        else:
            self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            self.database.consume_input()
            if self._exchange is None or self._exchange.read():
                self._settle()
        except psycopg.OperationalError as error:
            self.close()
            self._fail(error)

    def _settle(self) -> None:
        exchange, waiting, self._exchange, self._waiting = self._exchange, self._waiting, None, None
        if exchange is None or waiting is None or waiting.done():
            return  # a notice between two messages
        try:
            waiting.set_result(exchange.result)
        except psycopg.Error as error:
            waiting.set_exception(error)
            if self.database.status == pq.ConnStatus.BAD:
                self.close()

    def _fail(self, error: psycopg.Error) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
