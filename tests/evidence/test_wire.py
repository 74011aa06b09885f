"""What travels to PostgreSQL: whatever fails, the connection stays usable, and plans are made once."""

import json
from typing import Any

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from evidence.ledger import Actor, Draft, append, literals, service_draft, wire
from evidence.models.people import SERVICE

pytestmark = pytest.mark.usefixtures("ledger")


def plans() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements ORDER BY name")
        return [name for (name,) in cursor.fetchall()]


def begin() -> wire.Call:
    nothing = literals.text_array([])
    return "evidence_begin", (None, nothing, literals.bytes_array([]), nothing, nothing)


def told(*calls: wire.Call) -> None:
    with transaction.atomic():
        wire.ask(begin())
        wire.tell(*calls, commit=True)


def test_a_statement_is_planned_once_for_a_connection() -> None:
    for _ in range(3):
        with transaction.atomic():
            assert wire.ask(begin())["size"] >= 0
    assert plans() == ["evidence_begin"]


@pytest.mark.parametrize("times", [1, 3])
def test_what_fails_leaves_a_connection_that_can_go_on(times: int) -> None:
    """Its plan was made, so it is not made again; the transaction is failed, so what follows in it fails."""
    for _ in range(times):
        with pytest.raises(DatabaseError) as failed:
            told(("evidence_append_note", (-1, "x")))
        assert isinstance(failed.value.__cause__, psycopg.Error)
    with transaction.atomic():
        assert wire.ask(begin())["size"] >= 0
    assert plans() == ["evidence_append_note", "evidence_begin"]


def test_a_function_that_is_not_there_says_so_each_time() -> None:
    for _ in range(2):
        with pytest.raises(DatabaseError, match="evidence_nothing"):
            told(("evidence_nothing", (1,)))
    assert "evidence_nothing" not in plans()


def test_a_connection_that_died_idle_costs_no_writer_anything(superuser: psycopg.Connection[Any]) -> None:
    first = append(record())
    gone = wire.raw().info.backend_pid
    assert superuser.execute("SELECT pg_terminate_backend(%s, 2000)", [gone]).fetchone() == (True,)
    second = append(record())
    assert (second.index, wire.raw().info.backend_pid != gone) == (first.index + 1, True)


def record() -> Draft:
    said = {"title": "Adopt Looker", "decision": "Yes", "rationale": "Asked for"}
    return service_draft("decision", said, actor=Actor(SERVICE))


def test_the_first_that_fails_is_named_and_what_follows_is_not_done() -> None:
    with pytest.raises(DatabaseError, match="evidence_nothing"):
        told(("evidence_nothing", (1,)), ("evidence_other", (1,)))


@pytest.mark.parametrize("text", ["", "plain", 'quotes " and \\ and {,}', "né ✓", "NULL", "a\nb"])
def test_text_arrives_as_it_was_in_both_spellings(text: str) -> None:
    binary = literals.text_array([literals.text_element(text), literals.text_element(None)])
    result = wire.raw().pgconn.exec_params(b"SELECT to_json($1::text[])", [binary], None, [1])
    assert json.loads(result.get_value(0, 0) or b"") == [text, None]
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::text[]", [literals.quoted_array([text, None])])
        assert cursor.fetchone() == ([text, None],)


def test_bytes_arrive_as_they_were() -> None:
    every = bytes(range(256))
    array = literals.bytes_array(map(literals.bytes_element, (every, b"", None)))
    result = wire.raw().pgconn.exec_params(
        b"SELECT encode(($1::bytea[])[1], 'hex'), ($1::bytea[])[2], ($1::bytea[])[3], cardinality($1::bytea[])",
        [array],
        None,
        [1],
    )
    assert [result.get_value(0, column) for column in range(4)] == [every.hex().encode(), b"\\x", None, b"3"]
