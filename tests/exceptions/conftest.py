"""The cast, and an exception in the making."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evidence.api.actors import actor_for
from evidence.ledger import Actor
from evidence.ledger.check import check
from evidence.models import User
from evidence.people import issue_token
from exceptions import delivery, lifecycle, reminders
from exceptions.models import SecurityException
from tests.cast import Cast, assemble
from tests.evidence.conftest import Api

Request = Callable[..., SecurityException]


@pytest.fixture
def cast(ledger: Any) -> Iterator[Cast]:
    """Everybody; at the end the whole ledger is recomputed."""
    yield assemble()
    assert check() == []


def actor(user: User) -> Actor:
    return Actor(user.uid, ("user", user.uid))


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


@pytest.fixture
def request_one(cast: Cast) -> Request:
    """Alice requests an exception for netlify-trading, owned by Charlie, for 20 days."""

    def request(by: User | None = None, **changes: Any) -> SecurityException:
        asked = {
            "title": "Old TLS on the partner gateway",
            "justification": "The partner upgrades in spring.",
            "severity": "medium",
            "systems": ["netlify-trading"],
            "owner": "charlie@example.com",
            "requirements": ["dependency-alerts"],
            "expires_at": in_days(20),
            **changes,
        }
        placed = lifecycle.request_exception(actor=actor(by or cast.alice), application=lifecycle.Application(**asked))
        return SecurityException.objects.get(pk=placed.body["exception"])

    return request


@pytest.fixture
def approved(cast: Cast, request_one: Request) -> Request:
    """The same, approved by Bob (and by Lea where two are needed)."""

    def approve(**changes: Any) -> SecurityException:
        found = request_one(**changes)
        for person in [cast.bob, cast.lea][: found.approvals_needed]:
            lifecycle.approve(actor=actor(person), exception=found.id, reason="Seen")
        found.refresh_from_db()
        return found

    return approve


@pytest.fixture
def as_person(cast: Cast) -> Callable[[User], Api]:
    def api(user: User) -> Api:
        return Api(issue_token(user, actor=actor_for(cast.root), label="test").text)

    return api


def round_at(moment: datetime) -> int:
    """What a beat does, at a moment of the test's choice; how many reminders were delivered."""
    reminders.plan(moment)
    delivered = delivery.send_waiting(moment)
    delivery.record_settled()
    return delivered
