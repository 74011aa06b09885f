"""A batch's two messages to PostgreSQL, straight through libpq: by a thread that waits, or by an event loop.

Each is several statements sent at once: ``BEGIN`` with the question, the rows with ``COMMIT``. The driver sends
each statement by itself and takes longer over one than PostgreSQL does (docs/performance.md); Django's transaction
stays around them and finds the connection in the state that they leave.
"""

import asyncio
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import psycopg
from django.db import connection
from psycopg import pq

Value = str | bytes | int | datetime | None


def raw() -> "psycopg.Connection[Any]":
    """The driver's connection under Django's."""
    connection.ensure_connection()
    found: psycopg.Connection[Any] = connection.connection
    return found


#: A function with its parameters.
Call = tuple[str, Iterable[Value]]


def ask(call: Call) -> dict[str, Any]:
    """Begin the transaction and call a function that answers one row; the row as JSON has it."""
    return answer(_send(question(raw().pgconn, call)))


def tell(*calls: Call, commit: bool) -> None:
    """Call functions that answer nothing; with `commit` the transaction's end travels with them."""
    _send(order(raw().pgconn, *calls, commit=commit))


def question(database: pq.abc.PGconn, call: Call) -> bytes:
    """The message that begins the transaction and asks."""
    return f"BEGIN;SELECT row_to_json(answer) FROM {_spelled(database, call)} AS answer".encode()  # noqa: S608 -- values are escaped


def answer(result: pq.abc.PGresult) -> dict[str, Any]:
    """What was answered to a question."""
    found: dict[str, Any] = json.loads(result.get_value(0, 0) or b"")
    return found


def order(database: pq.abc.PGconn, *calls: Call, commit: bool) -> bytes:
    """The message that calls functions, and ends the transaction."""
    statements = [f"SELECT {_spelled(database, call)}" for call in calls]
    return ";".join([*statements, "COMMIT"] if commit else statements).encode()


def _send(message: bytes) -> pq.abc.PGresult:
    """The last statement's result; the first that fails ends the message. Raises Django's DatabaseError."""
    database = raw().pgconn
    with connection.wrap_database_errors:
        return _checked(database, database.exec_(message))


def _checked(database: pq.abc.PGconn, result: pq.abc.PGresult) -> pq.abc.PGresult:
    if result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        return result
    if database.status == pq.ConnStatus.BAD:
        raise psycopg.OperationalError(result.get_error_message())
    raise psycopg.errors.error_from_result(result)


class Line:
    """A connection that an event loop waits for; one message at a time. Raises psycopg.Error."""

    def __init__(self, database: pq.abc.PGconn) -> None:
        self.database = database
        self._loop = asyncio.get_running_loop()
        self._socket = database.socket
        self._result: pq.abc.PGresult | None = None
        self._waiting: asyncio.Future[pq.abc.PGresult] | None = None
        self.is_open = True
        self._loop.add_reader(self._socket, self._read)

    async def send(self, message: bytes) -> pq.abc.PGresult:
        """The last statement's result, as of `_send`."""
        self._result, self._waiting = None, self._loop.create_future()
        try:
            self.database.send_query(message)
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
            while not self.database.is_busy():
                if (result := self.database.get_result()) is None:
                    self._settle()
                    return
                self._result = result
        except psycopg.OperationalError as error:
            self.close()
            self._fail(error)

    def _settle(self) -> None:
        waiting, result, self._waiting = self._waiting, self._result, None
        if waiting is None or waiting.done() or result is None:
            return  # a notice between two messages
        try:
            waiting.set_result(_checked(self.database, result))
        except psycopg.Error as error:
            waiting.set_exception(error)
            if self.database.status == pq.ConnStatus.BAD:
                self.close()

    def _fail(self, error: psycopg.Error) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


def _spelled(database: pq.abc.PGconn, call: Call) -> str:
    escaping = pq.Escaping(database)
    function, parameters = call
    return f"{function}({','.join(_literal(escaping, value) for value in parameters)})"


def _literal(escaping: pq.abc.Escaping, value: Value) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'"
    text = value if isinstance(value, str) else value.isoformat()
    return bytes(escaping.escape_literal(text.encode())).decode()
