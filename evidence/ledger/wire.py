"""A batch's two messages to PostgreSQL, straight through libpq.

Each is several statements sent at once: ``BEGIN`` with the question, the rows with ``COMMIT``. The driver sends
each statement by itself and takes longer over one than PostgreSQL does (docs/performance.md); Django's transaction
stays around them and finds the connection in the state that they leave.
"""

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


def ask(function: str, parameters: Iterable[Value]) -> dict[str, Any]:
    """Begin the transaction and call a function that answers one row; the row as JSON has it."""
    called = _call(function, parameters)
    result = _send(["BEGIN", f"SELECT row_to_json(answer) FROM {called} AS answer"])  # noqa: S608 -- values are escaped
    answer: dict[str, Any] = json.loads(result.get_value(0, 0) or b"")
    return answer


def tell(*calls: tuple[str, Iterable[Value]], commit: bool) -> None:
    """Call functions that answer nothing; with `commit` the transaction's end travels with them."""
    statements = [f"SELECT {_call(function, parameters)}" for function, parameters in calls]
    _send([*statements, "COMMIT"] if commit else statements)


def _send(statements: list[str]) -> pq.abc.PGresult:
    """The last statement's result; the first that fails ends the message. Raises Django's DatabaseError."""
    database = raw().pgconn
    with connection.wrap_database_errors:
        result = database.exec_(";".join(statements).encode())
        if result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            return result
        if database.status == pq.ConnStatus.BAD:
            raise psycopg.OperationalError(result.get_error_message())
        raise psycopg.errors.error_from_result(result)


def _call(function: str, parameters: Iterable[Value]) -> str:
    escaping = pq.Escaping(raw().pgconn)
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
