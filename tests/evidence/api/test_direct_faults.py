"""POST records as the web server serves it, when the database goes away: written once, or said that it is not known."""

import asyncio
import time
from typing import Any

import psycopg
import pytest

from config.database import once_more
from evidence import authority
from evidence.ledger import loop, wire
from evidence.ledger.check import check
from tests.evidence.api.direct import answered, decide, one_by_one, says, serving, warm

WRITERS = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%evidence_%'"
WAITS = "wait_event_type = 'Lock'"


def _cut_off(superuser: psycopg.Connection[Any], which: str = "pid <> pg_backend_pid()") -> None:
    superuser.execute(f"SELECT pg_terminate_backend(pid) {WRITERS} AND {which}")


def test_it_makes_a_new_connection_when_the_database_has_cut_it_off(cast, superuser):
    async def talk(application):
        await warm(application, cast)
        _cut_off(superuser)
        return [await answered(application, decide(cast)) for _ in range(2)]

    assert [answer.status for answer in serving(talk)] == [201, 201]


def test_it_is_written_once_when_it_is_cut_off_while_it_waits_for_the_head(cast, ledger, superuser):
    async def talk(application):
        await warm(application, cast)
        with ledger.superuser() as holder, holder.transaction():
            holder.execute("SELECT FROM evidence_head FOR UPDATE")
            writing = asyncio.create_task(answered(application, decide(cast, "waits", key="w")))
            await asyncio.to_thread(_wait_for_a_waiter, superuser)
            _cut_off(superuser, WAITS)
        return [await writing, await answered(application, decide(cast, "waits", key="w"))]

    first, again = serving(talk)
    assert (first.status, again.status) == (201, 200)
    assert first.body == again.body
    assert check() == []


def _wait_for_a_waiter(superuser: psycopg.Connection[Any]) -> None:
    asked = f"SELECT count(*) {WRITERS} AND {WAITS}"
    end = time.monotonic() + 20
    while time.monotonic() < end:
        (found,) = superuser.execute(asked).fetchone() or (0,)
        if found:
            return
        time.sleep(0.02)
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("committed", [True, False])
def test_it_says_so_when_it_cannot_know_whether_it_was_written(cast, monkeypatch, committed):
    """The connection is lost when the commit is under way; the retry's key settles what became of it."""
    real = wire.Line.send
    lost: list[str] = []

    async def send(line: wire.Line, message: list[wire.Statement]) -> Any:
        if message[-1].text == b"COMMIT" and says(message, b"unsure") and not lost:
            lost.append("once")
            if committed:
                await real(line, message)
            line.close()
            raise psycopg.OperationalError("the connection is lost")
        return await real(line, message)

    monkeypatch.setattr(wire.Line, "send", send)
    ask = decide(cast, "unsure", key="u")
    *_, unsure, again = one_by_one(decide(cast), decide(cast), ask, ask)
    assert (unsure.status, unsure.code) == (503, "ledger_unavailable")
    assert again.status == (200 if committed else 201)
    assert check() == []


def test_it_gives_up_a_batch_that_takes_too_long_and_its_locks(cast, monkeypatch, ledger, superuser):
    monkeypatch.setattr(loop, "PATIENCE_SECONDS", 0.3)

    async def talk(application):
        await warm(application, cast)
        with ledger.superuser() as holder, holder.transaction():
            holder.execute("SELECT FROM evidence_head FOR UPDATE")
            late = await answered(application, decide(cast, "late", key="l"))
        monkeypatch.setattr(loop, "PATIENCE_SECONDS", 30)
        return [late, await answered(application, decide(cast, "late", key="l"))]

    late, again = serving(talk)
    assert (late.status, late.code) == (503, "ledger_busy")
    assert again.status in {200, 201}
    assert check() == []


def test_the_long_way_does_not_stumble_over_a_connection_that_died_idle(cast, superuser):
    """Nothing is remembered, and the thread's connection is one that its server has left."""

    def first_look() -> int:
        authority.forget()
        assert authority.epoch_now() > 0  # opens this thread's connection
        _cut_off(superuser)
        return once_more(authority.epoch_now)

    assert first_look() == authority.epoch_now()
