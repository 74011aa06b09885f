"""POST records as the web server serves it: records and refusals are as through Django, and the rest is Django's."""

import asyncio
import gc
import threading
import time
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from django.db import connection, transaction

from compliance.holds import Target, place_hold
from config.direct import DirectWrites
from evidence.api import admission, posting, ratelimit
from evidence.keys import log_verifier
from evidence.ledger import Actor, loop, reader, wire
from evidence.ledger.check import check
from evidence.models import Note, Token
from evidence.models.people import SERVICE
from evidence.people import revoke_token
from evidence.tlog.receipt import parse_receipt, verify_receipt
from tests.evidence.api.direct import (
    Ask,
    all_at_once,
    answered,
    answered_by_asgi,
    decide,
    django,
    one_by_one,
    says,
    serving,
    warm,
)


@pytest.fixture
def no_long_way(monkeypatch):
    """From when it is called, whatever leaves the event loop fails the test."""

    def forbid() -> None:
        def fail(request: Any) -> Any:
            raise AssertionError("the long way")

        monkeypatch.setattr(posting, "answer", fail)

    return forbid


def _revoke(cast):
    revoke_token(Token.objects.get(pipeline=cast.ci), actor=Actor(SERVICE), reason="leaked")
    connection.close()


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


def test_another_server_for_asgi_gets_the_same_answers(cast, few_writes):
    async def unread():
        raise AssertionError("the body is read")

    async def gone():
        return {"type": "http.disconnect"}

    async def talk(application):
        large = Ask(b"[" * 2_000_000, decide(cast).headers)
        answers = [await answered_by_asgi(application, ask) for ask in (decide(cast), large)]
        with pytest.raises(IndexError):  # nothing was sent: there is nobody to send it to
            await answered_by_asgi(application, decide(cast), gone)
        return [*answers, *[await answered_by_asgi(application, decide(cast), unread) for _ in range(3)]]

    size = reader.size()
    assert [answer.status for answer in serving(talk)] == [201, 413, 429, 429, 429]
    assert reader.size() == size + 1


def test_a_request_that_ends_before_its_end_is_not_taken_for_a_shorter_one():
    def reads(environ, start_response):
        with pytest.raises(OSError, match="gone"):
            environ["wsgi.input"].read()
        return django(environ | {"wsgi.input": BytesIO(b"nothing")}, start_response)

    pieces = iter(
        [{"type": "http.request", "body": b'{"kind"', "more_body": True}, {"type": "http.disconnect"}],
    )

    async def receive():
        return next(pieces)

    async def talk():
        return await answered_by_asgi(DirectWrites(reads), Ask(path="/api/v1/records/batch"), receive)

    assert asyncio.run(talk()).body == b"Django's answer to nothing"


def test_what_goes_wrong_with_an_answer_is_said_and_takes_nobodys_place(cast, monkeypatch):
    def fail(*_: Any) -> Any:
        raise RuntimeError("the secret is 42")

    async def talk(application):
        await warm(application, cast)
        with monkeypatch.context() as patched:
            patched.setattr(posting, "receipt", fail)
            patched.setattr(admission, "writes", admission.Places(1))
            return [await answered(application, decide(cast, str(number))) for number in range(2)]

    size = reader.size()
    for answer in serving(talk):
        assert (answer.status, answer.code) == (500, "internal_error")
        assert b"42" not in answer.body
    assert reader.size() == size + 4


def test_many_at_once_share_checkpoints_and_fill_tiles(cast):
    asks = [decide(cast, str(number), key=str(number)) for number in range(300)]

    async def talk(application):
        await warm(application, cast)
        answers = []
        for start in range(0, 300, 40):
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
        await asyncio.to_thread(_revoke, cast)
        return [first, await answered(application, decide(cast))]

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


# -- how many are written at once --------------------------------------------------------------------------------------


async def _checkpoints(application, cast, *, writers, each, pause=0.0):
    """How many it takes when each writer waits for its answer, and begins `pause` seconds after the last one."""
    before = await asyncio.to_thread(_notes)

    async def write(writer):
        await asyncio.sleep(writer * pause)
        return [await answered(application, decide(cast, f"{writer} {number}")) for number in range(each)]

    answers = await asyncio.gather(*(write(writer) for writer in range(writers)))
    assert {answer.status for mine in answers for answer in mine} == {201}
    return await asyncio.to_thread(_notes) - before


def _notes():
    found = Note.objects.count()
    connection.close()
    return found


@pytest.mark.parametrize(("writers", "checkpoints"), [(1, range(5, 6)), (8, range(5, 13))])
def test_nobody_waits_but_for_those_who_come_back_at_once(cast, monkeypatch, writers, checkpoints):
    """One who writes alone for nobody, eight for each other: five rounds are over before one pause would be."""
    monkeypatch.setattr(loop, "CADENCE", 20)

    async def talk(application):
        await warm(application, cast)
        started = time.monotonic()
        assert await _checkpoints(application, cast, writers=writers, each=5) in checkpoints
        assert time.monotonic() - started < 20
        return []

    serving(talk)


def test_while_several_write_one_batch_takes_all_that_come_in_its_time(cast, monkeypatch):
    monkeypatch.setattr(loop, "CADENCE", 2.0)

    async def talk(application):
        await warm(application, cast)
        await _checkpoints(application, cast, writers=16, each=1)
        assert await _checkpoints(application, cast, writers=8, each=1, pause=0.03) <= 2
        return []

    serving(talk)


def test_who_waited_for_the_head_counts_from_when_it_had_it(cast, monkeypatch):
    """Or processes that once began together would do so every time, and wait for each other."""
    monkeypatch.setattr(loop, "CADENCE", 2.0)

    async def talk(application):
        await warm(application, cast)
        locked = threading.Event()
        other = asyncio.create_task(asyncio.to_thread(_hold_the_head, locked, 1.2))
        await asyncio.to_thread(locked.wait)
        await _checkpoints(application, cast, writers=16, each=1)
        await other
        assert await _checkpoints(application, cast, writers=8, each=1, pause=0.15) == 1
        return []

    serving(talk)


def _hold_the_head(locked, seconds):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT FROM evidence_head FOR UPDATE")
        locked.set()
        time.sleep(seconds)
    connection.close()


# -- who asks for too much ---------------------------------------------------------------------------------------------


@pytest.fixture
def few_writes(settings, broker):
    """Three writes for each principal, and no more while a test runs."""
    ratelimit.forget()
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "writes": (0.01, 3)}
    yield
    ratelimit.forget()


@pytest.mark.parametrize("is_plain", [True, False])
def test_who_has_no_tokens_left_is_refused_before_a_body_is_read(cast, few_writes, is_plain):
    async def unread():
        raise AssertionError("the body is read")

    async def talk(application):
        for number in range(3):
            assert (await answered(application, decide(cast, str(number)))).status == 201
        ask = replace(decide(cast), is_plain=is_plain)
        return [await answered(application, ask, receive=unread) for _ in range(5)]

    for answer in serving(talk):
        assert (answer.status, answer.code) == (429, "rate_limited")
        assert int(answer.headers["retry-after"]) > 90
        assert answer.headers["ratelimit"].startswith('"writes";r=0;t=')
        assert answer.headers["content-length"] == str(len(answer.body))


def test_a_token_that_is_no_longer_believed_costs_its_owner_nothing(cast, few_writes):
    async def talk(application):
        assert (await answered(application, decide(cast))).status == 201
        await asyncio.to_thread(_revoke, cast)
        return [await answered(application, decide(cast)) for _ in range(6)]

    assert [answer.status for answer in serving(talk)] == [401] * 6


def test_who_has_no_tokens_left_may_do_something_else(cast, few_writes):
    async def talk(application):
        asks = [*[decide(cast)] * 4, replace(decide(cast), path="/api/v1/releases")]
        return [await answered(application, ask) for ask in asks]

    assert [answer.status for answer in serving(talk)] == [201, 201, 201, 429, 200]


@pytest.mark.parametrize("is_plain", [True, False])
def test_each_write_costs_one_token_whichever_way_it_goes(cast, few_writes, is_plain):
    """The door has taken it: neither a rehearsal nor Django takes another."""

    async def talk(application):
        rehearsal = Ask(decide(cast).body, decide(cast).headers, query="dry_run=1")
        asks = [decide(cast), rehearsal, Ask(b"{", decide(cast).headers), decide(cast)]
        return [await answered(application, replace(ask, is_plain=is_plain)) for ask in asks]

    assert [answer.status for answer in serving(talk)] == [201, 200, 400, 429]


def test_neither_records_nor_refusals_leave_anything_to_the_collector(cast, few_writes):
    """A cycle for each refusal stops everybody for a tenth of a second whenever some thousand are to be looked at."""

    async def each_kind_of_refusal(application):
        ratelimit.disbelieve(f"Bearer {cast.ci_token}")
        asks = [decide(cast, token="ptk_unknown"), decide(cast), decide(cast)]
        return [(await answered(application, ask)).status for ask in asks]

    async def talk(application):
        for _ in range(4):  # what is made once, and three records
            statuses = await each_kind_of_refusal(application)
        gc.collect()
        for _ in range(20):
            statuses += await each_kind_of_refusal(application)
        assert gc.collect() < 20
        assert statuses == [401, 429, 429] * 21
        return []

    serving(talk)
