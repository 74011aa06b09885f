"""Beyond the term or the renewals that a severity allows an executive is among the approvers; nothing is endless."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from config.errors import InvalidError
from evidence.models import User
from exceptions import lifecycle, rules
from exceptions.models import Renewal, SecurityException
from exceptions.models.terms import days_between
from tests.cast import Cast
from tests.evidence.conftest import Api
from tests.exceptions.conftest import Request, actor, in_days
from tests.exceptions.refusing import refused
from tests.exceptions.test_api import ask, look, move
from tests.exceptions.test_lifecycle import now


def test_whoever_asks_is_told_and_only_an_executive_approves(cast: Cast, as_person: Callable[[User], Api]) -> None:
    alice, bob, lea, max_ = (as_person(user) for user in (cast.alice, cast.bob, cast.lea, cast.max))
    within = ask(alice, expires_at=str(in_days(90).date())).json()["exception"]
    assert within["needs_executive"] is None, "the last day that a high one may have"
    asked = ask(alice, expires_at=str(in_days(91).date())).json()["exception"]
    why = "EXC-0002 asks for 91 days: beyond 90 a high one needs an executive among the approvers."
    assert (asked["state"], asked["needs_executive"]) == ("requested", why)
    assert [row["needs_executive"] for row in look(lea, "exceptions").json()["results"]] == [why, None]
    answer = move(bob, "EXC-0002", "approved")
    assert (answer.status_code, answer.json()["code"], answer.json()["detail"]) == (403, "executive_required", why)
    assert "approved" not in bob.get("exceptions/EXC-0002").json()["moves"]
    assert "approved" in max_.get("exceptions/EXC-0002").json()["moves"]
    granted = move(max_, "EXC-0002", "approved").json()["exception"]
    assert (granted["state"], granted["needs_executive"]) == ("active", None)


def test_it_asks_for_nothing_beyond_what_an_executive_may_allow(cast: Cast, as_person: Callable[[User], Api]) -> None:
    alice = as_person(cast.alice)
    assert ask(alice, expires_at=str(in_days(180).date())).status_code == 201
    answer = ask(alice, expires_at=str(in_days(181).date()))
    said = answer.json()
    assert (answer.status_code, said["code"], said["where"]) == (422, "term_too_long", "$.expires_at")
    assert (said["longest_days"], said["longest_days_with_executive"]) == (90, 180)
    assert said["detail"] == "A high exception may last 90 days, and 180 if an executive approves it, not 181."


def test_one_of_two_approvals_is_an_executives_whichever_comes_first(cast: Cast, request_one: Request) -> None:
    last, first = (request_one(severity="critical", expires_at=in_days(60)) for _ in range(2))

    def approve(person: User, found: SecurityException) -> str:
        lifecycle.approve(actor=actor(person), exception=found.pk)
        found.refresh_from_db()
        return rules.needs_executive(found)

    assert approve(cast.bob, last).startswith("EXC-0001 asks for 60 days: beyond 30 ")
    for person in (cast.lea, cast.root):
        with refused("executive_required"):
            approve(person, last)
    assert approve(cast.max, last) == ""
    assert approve(cast.max, first) == "", "an executive is among them: anybody may be the second"
    approve(cast.bob, first)
    assert [one.state(now()) for one in (last, first)] == ["active", "active"]


def test_a_renewals_term_begins_where_the_one_before_ends(cast: Cast, approved: Request) -> None:
    within, beyond = approved(), approved()
    for found, days in ((within, 200), (beyond, 201)):
        lifecycle.request_renewal(actor=actor(cast.alice), exception=found.pk, expires_at=in_days(days), reason="More")
    lifecycle.approve_renewal(actor=actor(cast.bob), exception=within.pk)
    beyond.refresh_from_db()
    why = "The renewal of EXC-0002 asks for 181 days: beyond 180 a medium one needs an executive among the approvers."
    assert rules.needs_executive(beyond) == why
    assert "renewed" not in rules.moves(beyond, cast.bob, now())
    with refused("executive_required"):
        lifecycle.approve_renewal(actor=actor(cast.lea), exception=beyond.pk)
    lifecycle.approve_renewal(actor=actor(cast.max), exception=beyond.pk)
    beyond.refresh_from_db()
    assert days_between(beyond.term_from, beyond.expires_at) == 181
    assert rules.needs_executive(beyond) == "", "nothing waits"


def test_a_renewal_after_the_expiry_begins_when_it_was_asked_for() -> None:
    asked, week = now(), timedelta(days=7)
    assert Renewal(previous_expires_at=asked - week, requested_at=asked).term_from == asked
    assert Renewal(previous_expires_at=asked + week, requested_at=asked).term_from == asked + week


def test_an_amendment_that_makes_it_too_long_needs_an_executive(cast: Cast, approved: Request) -> None:
    found, longer = approved(expires_at=in_days(100)), approved(severity="low", expires_at=in_days(100))

    def amend(found: SecurityException, **changes: str) -> None:
        lifecycle.amend(actor=actor(cast.lea), exception=found.pk, reason="Worse than thought", changes=changes)
        found.refresh_from_db()

    amend(found, severity="high")
    assert found.state(now()) == "requested"
    with refused("executive_required"):
        lifecycle.approve(actor=actor(cast.bob), exception=found.pk)
    lifecycle.approve(actor=actor(cast.max), exception=found.pk)
    amend(found, title="Old TLS, worse than thought")
    with refused("executive_required"):  # what Max approved was something else
        lifecycle.approve(actor=actor(cast.bob), exception=found.pk)
    with pytest.raises(InvalidError, match="A critical exception may last 30 days, and 90 if") as caught:
        amend(longer, severity="critical")
    assert caught.value.code == "term_too_long"
