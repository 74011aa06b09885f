"""What is asked of the register: as of a moment, in figures, and what somebody may do next."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from evidence.events import events_of
from evidence.models import Record, User
from exceptions import lifecycle
from exceptions.models import SecurityException
from tests.cast import Cast
from tests.evidence.conftest import Api
from tests.exceptions.conftest import Request, actor, in_days
from tests.exceptions.test_api import ask, move

CLOSING = {"exception.rejected", "exception.withdrawn", "exception.revoked", "exception.remediated"}


def numbers(answer: Any) -> set[str]:
    assert answer.status_code == 200, answer.content
    return {row["id"] for row in answer.json()["results"]}


def replayed(until: datetime) -> tuple[set[str], dict[str, datetime]]:
    """Brute force: who was open at a moment, and when each was closed, from the records alone."""
    open_, closed = set[str](), dict[str, datetime]()
    rows = Record.objects.filter(kind__startswith="exception.").order_by("index")
    for event in events_of(list(rows), lambda _: True):
        if event.at <= until:
            number = str(event.facts["exception"])
            if event.kind == "exception.requested":
                open_.add(number)
            elif event.kind in CLOSING:
                open_.discard(number)
                closed[number] = event.at
    return open_, closed


def a_busy_day(cast: Cast, request_one: Request) -> None:
    """Thirty steps of a few lives, in an order that a seed decides."""
    chance = random.Random(7)  # noqa: S311 -- a test's own dice
    alive: list[str] = []
    for _ in range(30):
        number = chance.choice(alive) if alive and chance.random() < 0.65 else None
        if number is None:
            alive.append(request_one(severity="low").id)
            continue
        found = SecurityException.objects.get(pk=number)
        common: dict[str, Any] = {"exception": number, "reason": "x", "actor": actor(cast.bob)}
        if found.decision == "requested":
            chance.choice([lifecycle.approve, lifecycle.approve, lifecycle.reject])(**common)
        else:
            end, who = chance.choice([(lifecycle.revoke, cast.bob), (lifecycle.remediate, cast.alice)])
            end(**common | {"actor": actor(who)})
        if SecurityException.objects.get(pk=number).closed_at is not None:
            alive.remove(number)


def test_it_answers_for_any_moment_as_a_replay_of_the_records_does(
    cast: Cast, request_one: Request, as_person: Callable[[User], Api]
) -> None:
    a_busy_day(cast, request_one)
    api = as_person(cast.cora)
    times = list(Record.objects.filter(kind__startswith="exception.").order_by("index").values_list("at", flat=True))
    for at in [times[0] - timedelta(seconds=1), *times[::3], times[-1]]:
        shown = quote(at.isoformat())
        assert numbers(api.get(f"exceptions?limit=200&open_on={shown}")) == replayed(at)[0]
        assert numbers(api.get(f"exceptions?limit=200&as_of={shown}&state=open")) == replayed(at)[0]
    for start, end in [(times[3], times[9]), (times[10], times[-1]), (times[-2], times[-1])]:
        before, closed = replayed(end)
        wanted = before | {number for number, at in closed.items() if at > start}
        asked = quote(f"{start.isoformat()}/{end.isoformat()}")
        later = {row.id for row in SecurityException.objects.filter(requested_at=end)}
        assert numbers(api.get(f"exceptions?limit=200&open_between={asked}")) == wanted - later


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("open_between=2024-01-01", "open_between"),
        ("open_between=2024-03-31/2024-01-01", "open_between"),
        ("open_on=2024-01-01&as_of=2024-01-01", "open_on"),
    ],
)
def test_it_says_how_to_ask(cast: Cast, as_person: Callable[[User], Api], query: str, where: str) -> None:
    answer = as_person(cast.cora).get(f"exceptions?{query}")
    assert (answer.status_code, answer.json()["code"], answer.json()["where"]) == (422, "filter_invalid", where)
    assert as_person(cast.cora).get("exceptions?open_on=2024-02-30").json()["code"] == "date_invalid"


def test_it_lists_the_moves_that_the_caller_may_make(cast: Cast, as_person: Callable[[User], Api]) -> None:
    alice, bob = as_person(cast.alice), as_person(cast.bob)

    def moves(api: Api) -> list[str]:
        found: list[str] = api.get("exceptions/EXC-0001").json()["moves"]
        return found

    ask(alice)
    assert moves(alice) == ["withdrawn", "amended"]
    assert moves(bob) == ["approved", "rejected"]
    assert moves(as_person(cast.lea)) == ["withdrawn", "amended"]  # Lea owns it
    move(bob, "EXC-0001", "approved")
    assert moves(bob) == ["revoked"]
    assert moves(alice) == ["amended", "renewal_requested", "remediated", "superseded"]
    move(alice, "EXC-0001", "renewal_requested", expires_at=in_days(60).isoformat())
    assert moves(bob) == ["renewed", "renewal_refused", "revoked"]
    assert "amended" not in moves(alice)
    for name in ("withdrawn", "approved", "rejected"):
        refused = move(bob, "EXC-0001", name)
        assert (refused.status_code, refused.json()["code"]) == (400, "transition_not_allowed")
    move(bob, "EXC-0001", "revoked")
    assert (moves(alice), moves(bob)) == ([], [])


def test_an_expired_one_goes_on_only_after_a_review(cast: Cast, as_person: Callable[[User], Api]) -> None:
    alice, bob = as_person(cast.alice), as_person(cast.bob)
    end = datetime.now(UTC) + timedelta(seconds=1.5)
    ask(alice, expires_at=end.isoformat())
    assert move(bob, "EXC-0001", "approved").status_code == 201
    while datetime.now(UTC) <= end:
        time.sleep(0.05)
    refused = move(bob, "EXC-0001", "renewed")
    assert (refused.status_code, refused.json()["code"]) == (409, "review_required")
    assert move(alice, "EXC-0001", "renewal_requested", expires_at=in_days(20).isoformat()).status_code == 201
    renewed = move(bob, "EXC-0001", "renewed").json()["exception"]
    assert (renewed["state"], renewed["original_expires_at"]) == ("active", end.isoformat().replace("+00:00", "Z"))


def test_it_counts_what_a_liaison_asks_about(
    cast: Cast, request_one: Request, approved: Request, as_person: Callable[[User], Api]
) -> None:
    request_one(severity="low", owner="max@example.com")
    approved(expires_at=in_days(5))
    approved(expires_at=in_days(25), severity="high")
    cora = as_person(cast.cora)
    for _ in range(2):  # the second attempt of a day says nothing new
        refused = move(as_person(cast.lea), request_one(owner="lea@example.com").id, "approved")
        assert (refused.status_code, refused.json()["code"]) == (403, "self_approval")
    again = move(as_person(cast.lea), "EXC-0004", "approved")
    assert again.status_code == 403
    with CaptureQueriesContext(connection) as asked:
        found = cora.get("exceptions/metrics").json()
    assert len(asked) < 25
    counts = {name: found[name] for name in ("open", "active", "overdue", "expired_without_decision")}
    assert counts == {"open": 5, "active": 2, "overdue": 0, "expired_without_decision": 0}
    assert found["expiring_in_days"] == {"7": 1, "30": 2}
    assert found["self_approval_attempts"] == 2
    assert (found["awaiting_decision"]["requests"], found["awaiting_decision"]["renewals"]) == (3, 0)
    assert found["average_days_to_decision"] == 0.0
    assert found["by_severity"] == {"critical": 0, "high": 1, "medium": 3, "low": 1}
    assert found["by_system"] == [{"system": "netlify-trading", "open": 5}]
    assert sum(row["open"] for row in found["by_owner"]) == 5
    assert found["by_age"][0] == {"up_to_days": 30, "open": 5}
    timeline = [row["kind"] for row in cora.get("exceptions/EXC-0004").json()["transitions"]]
    assert timeline == ["exception.requested", "exception.self_approval_refused"]
