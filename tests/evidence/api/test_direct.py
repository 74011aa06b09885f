"""POST records as Granian serves it: records, refusals and faults are as through Django, and the rest is Django's."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from compliance.holds import Target, place_hold
from config.database import once_more
from config.direct import DirectWrites
from evidence import authority
from evidence.api import admission, posting
from evidence.keys import log_verifier
from evidence.ledger import Actor, loop, reader, wire
from evidence.ledger.check import check
from evidence.models import Note, Token
from evidence.models.people import SERVICE
from evidence.people import revoke_token
from evidence.tlog.receipt import parse_receipt, verify_receipt
from tests.cast import Cast

DECISION = {"title": "t", "decision": "d", "rationale": "r"}


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        code: str | None = json.loads(self.body).get("code")
        return code

    @property
    def index(self) -> int:
        index: int = json.loads(self.body)["index"]
        return index


@dataclass(frozen=True)
class Ask:
    """One request; `headers` may name one twice."""

    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    method: str = "POST"
    path: str = "/api/v1/records"
    host: str = "testserver"
    query: str = ""

    @property
    def scope(self) -> dict[str, Any]:
        lines = [("host", self.host), ("content-length", str(len(self.body))), *self.headers]
        return {
            "type": "http",
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "query_string": self.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in lines],
        }


def django(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"Django's answer to ", environ["wsgi.input"].read()]


async def answered(application: DirectWrites, ask: Ask) -> Answer:
    sent: list[Any] = []
    pieces = [ask.body[: len(ask.body) // 2], ask.body[len(ask.body) // 2 :]]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    await application(ask.scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:]))


Talk = Callable[[DirectWrites], Awaitable[list[Answer]]]


def serving(talk: Talk) -> list[Answer]:
    """What a client hears that talks to one process."""

    async def run() -> list[Answer]:
        return await talk(DirectWrites(django))

    try:
        return asyncio.run(run())
    finally:
        loop.stop()


async def warm(application: DirectWrites, cast: Cast) -> None:
    """Until the process remembers what it needs: its first look at the log may change what it is to remember."""
    for _ in range(2):
        assert (await answered(application, decide(cast))).status == 201


def one_by_one(*asks: Ask) -> list[Answer]:
    async def talk(application: DirectWrites) -> list[Answer]:
        return [await answered(application, ask) for ask in asks]

    return serving(talk)


def all_at_once(cast: Cast, *asks: Ask) -> list[Answer]:
    """Answers to requests that come at once."""

    async def talk(application: DirectWrites) -> list[Answer]:
        await warm(application, cast)
        return list(await asyncio.gather(*(answered(application, ask) for ask in asks)))

    return serving(talk)


def decide(cast: Cast, title: str = "t", *, key: str | None = None, token: str | None = None, **more: Any) -> Ask:
    body = {"kind": "decision", "body": DECISION | {"title": title}} | more
    headers = [("authorization", f"Bearer {token or cast.ci_token}"), ("content-type", "application/json")]
    return Ask(json.dumps(body).encode(), (*headers, *([("idempotency-key", key)] if key else [])))


@pytest.fixture
def no_long_way(monkeypatch):
    """From when it is called, whatever leaves the event loop fails the test."""

    def forbid() -> None:
        def fail(request: Any) -> Any:
            raise AssertionError("the long way")

        monkeypatch.setattr(posting, "answer", fail)

    return forbid


# -- what is Django's ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/v1/records"), ("POST", "/api/v1/records/batch")])
def test_it_leaves_everything_else_to_django(method, path):
    (answer,) = one_by_one(Ask(b"what was sent", method=method, path=path))
    assert answer.body == b"Django's answer to what was sent"


# -- records -----------------------------------------------------------------------------------------------------------


def test_it_writes_on_the_event_loop_what_it_can_judge_from_memory(cast, no_long_way):
    async def talk(application):
        await warm(application, cast)
        no_long_way()
        return [await answered(application, decide(cast, str(n), key=str(n))) for n in range(3)]

    answers = serving(talk)
    assert [answer.status for answer in answers] == [201] * 3
    assert [answer.index for answer in answers] == list(range(answers[0].index, answers[0].index + 3))
    for answer in answers:
        assert answer.headers["location"] == f"/api/v1/records/{answer.index}"
        assert answer.headers["content-length"] == str(len(answer.body))
        assert all(step.ok for step in verify_receipt(parse_receipt(answer.body), verifiers=[log_verifier()]))
    assert check() == []


def test_many_at_once_share_checkpoints_and_fill_tiles(cast):
    asks = [decide(cast, str(number), key=str(number)) for number in range(300)]

    async def talk(application):
        await warm(application, cast)
        answers = []
        for start in range(0, 300, 50):
            answers += await asyncio.gather(*(answered(application, ask) for ask in asks[start : start + 40]))
        return answers

    before = reader.size() + 2
    answers = serving(talk)
    assert sorted(answer.index for answer in answers) == list(range(before, before + 300))
    assert Note.objects.filter(size__gt=before).count() < 100
    assert check() == []


def test_a_key_sent_twice_at_once_is_one_record(cast):
    asks = [decide(cast, key="k") for _ in range(5)]
    answers = all_at_once(cast, *asks)
    assert sorted(answer.status for answer in answers) == [200, 200, 200, 200, 201]
    assert len({answer.body for answer in answers}) == 1
    assert {answer.headers.get("idempotency-replayed") for answer in answers if answer.status == 200} == {"true"}


def test_a_hold_on_what_arrives_sends_records_the_long_way(cast):
    place_hold(actor=Actor(SERVICE), reason="Matter 7", target=Target(system=cast.trading.name))
    answers = all_at_once(cast, decide(cast, "a"), decide(cast, "b"))
    assert [answer.status for answer in answers] == [201, 201]
    assert check() == []


def test_a_large_record_goes_the_long_way(cast):
    ask = decide(cast)
    padded = ask.body[:-1] + b" " * posting.LARGE + b"}"
    (answer,) = all_at_once(cast, Ask(padded, ask.headers))
    assert answer.status == 201


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"headers": ()}, 401, "not_authenticated"),
        ({"headers": (("authorization", "Bearer pt_x_y"), ("content-type", "application/json"))}, 401, "token_invalid"),
        ({"body": b"{"}, 400, "json_malformed"),
        ({"body": b'{"kind": "decision", "body": {}}'}, 422, "body_invalid"),
        ({"body": b'{"kind": "decision", "occurred_at": "2099-01-01T00:00:00Z", "body": {}}'}, 422, "body_invalid"),
        ({"body": b"[" * 2_000_000}, 413, "body_too_large"),
        ({"host": "elsewhere.example.com"}, 400, "bad_request"),
        ({"host": ""}, 400, "bad_request"),
    ],
)
def test_it_refuses_as_django_does(cast, change, status, code):
    good = decide(cast)
    members = {"body": good.body, "headers": good.headers} | change
    size = reader.size()
    bad, fine = one_by_one(Ask(**members), good)
    assert (bad.status, bad.code) == (status, code)
    assert bad.headers["content-type"] == "application/problem+json"
    assert bad.headers["x-content-type-options"] == "nosniff"
    assert (fine.status, reader.size()) == (201, size + 1)


def test_it_looks_twice_at_a_header_that_comes_twice(cast):
    ask = decide(cast)
    (answer,) = one_by_one(Ask(ask.body, (*ask.headers, ("authorization", "Bearer pt_x_y"))))
    assert (answer.status, answer.code) == (401, "token_invalid")


def test_one_from_the_future_is_refused_alone(cast):
    ahead = decide(cast, "ahead", occurred_at="2099-01-01T00:00:00Z")
    answers = all_at_once(cast, decide(cast, "a"), ahead, decide(cast, "b"))
    assert [answer.status for answer in answers] == [201, 422, 201]
    assert answers[1].code == "occurred_in_future"


def says(message: list[wire.Statement], word: bytes) -> bool:
    return any(word in (value or b"") for statement in message for value in statement.values)


def test_a_poisoned_record_is_refused_alone(cast, monkeypatch):
    real = wire.order

    def order(*calls: wire.Call, commit: bool) -> list[wire.Statement]:
        message = real(*calls, commit=commit)
        return [wire.Statement(b"SELECT 1/0"), *message] if says(message, b"poison") else message

    monkeypatch.setattr(wire, "order", order)
    answers = all_at_once(cast, decide(cast, "a"), decide(cast, "poison"), decide(cast, "b"))
    assert [answer.status for answer in answers] == [201, 422, 201]
    assert answers[1].code == "record_refused"
    assert check() == []


def test_a_revoked_token_counts_no_more(cast):
    async def talk(application):
        first = await answered(application, decide(cast))
        await asyncio.to_thread(revoke)
        return [first, await answered(application, decide(cast))]

    def revoke():
        from django.db import connection

        revoke_token(Token.objects.get(pipeline=cast.ci), actor=Actor(SERVICE), reason="leaked")
        connection.close()

    first, second = serving(talk)
    assert first.status == 201
    assert (second.status, second.code) == (401, "token_invalid")


def test_a_full_service_says_so(cast, monkeypatch):
    monkeypatch.setattr(admission, "writes", admission.Places(0))
    (answer,) = one_by_one(decide(cast))
    assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "busy", "1")


def test_a_fault_is_answered_as_a_problem_without_detail(cast, monkeypatch):
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr(posting, "_draft", fail)
    (answer,) = one_by_one(decide(cast))
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"42" not in answer.body


# -- faults ------------------------------------------------------------------------------------------------------------


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
