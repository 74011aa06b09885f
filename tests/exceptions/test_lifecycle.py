"""Every transition, who may make it, and what refuses."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evidence.ledger import Actor, Idempotency, Placed, reader
from evidence.models import Payload, Record, User
from evidence.models.people import SERVICE
from evidence.people import change_user
from exceptions import lifecycle
from exceptions.models import Renewal, SecurityException
from exceptions.waivers import waivers
from tests.cast import Cast
from tests.exceptions.conftest import Request, actor, in_days
from tests.exceptions.refusing import refused


def now() -> datetime:
    return datetime.now(UTC)


# -- requesting --------------------------------------------------------------------------------------------------------


def test_it_numbers_requests_without_gaps_and_records_the_number(request_one: Request) -> None:
    found = [request_one(), request_one(), request_one()]
    assert [exception.id for exception in found] == ["EXC-0001", "EXC-0002", "EXC-0003"]
    body = reader.get(found[1].requested_index).recorded.body
    assert body["exception"] == "EXC-0002"
    assert Record.objects.get(index=found[1].requested_index).facts["exception"] == "EXC-0002"


def test_it_numbers_requests_without_gaps_under_concurrency(cast: Cast, request_one: Request) -> None:
    def work() -> None:
        from django.db import connection

        try:
            request_one()
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(SecurityException.objects.values_list("id", flat=True)) == [f"EXC-{n:04d}" for n in range(1, 9)]


def test_it_draws_no_number_for_a_refused_request(request_one: Request) -> None:
    with refused("expiry_in_past"):
        request_one(expires_at=in_days(-1))
    assert request_one().id == "EXC-0001"


def test_it_answers_a_retry_with_the_first_exception(cast: Cast) -> None:
    application = lifecycle.Application(
        title="T", justification="J", severity="low", systems=["billing"], owner="charlie@example.com",
        expires_at=in_days(10),
    )  # fmt: skip
    key = Idempotency.of("k", method="POST", path="/", body=b"")
    first = lifecycle.request_exception(actor=actor(cast.alice), application=application, idempotency=key)
    again = lifecycle.request_exception(actor=actor(cast.alice), application=application, idempotency=key)
    assert again.replayed
    assert again.receipt() == first.receipt()
    assert SecurityException.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"expires_at": timedelta(seconds=-1)}, "expiry_in_past"),
        ({"effective_from": timedelta(days=30)}, "date_invalid"),
        ({"effective_from": timedelta(days=-32)}, "effective_too_early"),
        ({"severity": "critical", "expires_at": timedelta(days=92)}, "term_too_long"),
        ({"severity": "high", "expires_at": timedelta(days=182)}, "term_too_long"),
        ({"severity": "medium", "expires_at": timedelta(days=367)}, "term_too_long"),
        ({"severity": "low", "expires_at": timedelta(days=732)}, "term_too_long"),
        (
            {"severity": "high", "effective_from": timedelta(days=-29), "expires_at": timedelta(days=160)},
            "term_too_long",
        ),
        ({"severity": "P1"}, "severity_unknown"),
        ({"systems": ["nowhere"]}, "system_unknown"),
        ({"systems": []}, "body_invalid"),
        ({"title": ""}, "body_invalid"),
        ({"requirements": ["not a name"]}, "body_invalid"),
        ({"owner": "nobody@example.com"}, "person_unknown"),
        ({"risk": "RISK-0001"}, "risk_unknown"),
    ],
)
def test_it_refuses_a_request(request_one: Request, changes: dict[str, Any], code: str) -> None:
    times = {name: now() + value for name, value in changes.items() if isinstance(value, timedelta)}
    with refused(code):
        request_one(**changes | times)


def test_it_lets_only_liaisons_and_engineers_request(cast: Cast, request_one: Request) -> None:
    for person in (cast.ada, cast.bob, cast.max, cast.cora):
        with refused("role_required"):
            request_one(by=person)
    with refused("system_unknown"):  # Charlie's team sees billing only
        request_one(by=cast.charlie)
    for principal in (Actor(SERVICE), Actor(cast.ci.uid)):
        with refused("person_required"):
            lifecycle.withdraw(actor=principal, exception="EXC-0001", reason="x")


# -- deciding ----------------------------------------------------------------------------------------------------------


def test_it_is_active_once_approved(cast: Cast, request_one: Request) -> None:
    found = request_one()
    assert found.state(now()) == "requested"
    lifecycle.approve(actor=actor(cast.bob), exception=found.id)
    found.refresh_from_db()
    assert found.state(now()) == "active"
    assert found.state(found.expires_at - timedelta(microseconds=1)) == "active"
    assert found.state(found.expires_at) == "expired"


def test_it_begins_at_its_effective_date(approved: Request) -> None:
    found = approved(effective_from=in_days(2))
    assert found.state(now()) == "scheduled"
    assert found.state(in_days(3)) == "active"


def test_it_keeps_requester_and_owner_from_approving(cast: Cast, request_one: Request) -> None:
    change_user(cast.alice, actor=Actor(SERVICE), roles=["engineer", "approver", "admin"])
    found = request_one(owner="lea@example.com")
    for person in (cast.alice, cast.lea):
        with refused("self_approval"):
            lifecycle.approve(actor=actor(person), exception=found.id)
        with refused("self_approval"):
            lifecycle.reject(actor=actor(person), exception=found.id, reason="no")
    for person in (cast.ada, cast.cora):
        with refused("role_required"):
            lifecycle.approve(actor=actor(person), exception=found.id)
    lifecycle.approve(actor=actor(cast.bob), exception=found.id)


def test_it_needs_two_different_people_for_a_critical_one(cast: Cast, request_one: Request) -> None:
    found = request_one(severity="critical")
    lifecycle.approve(actor=actor(cast.bob), exception=found.id)
    found.refresh_from_db()
    assert found.state(now()) == "requested"
    with refused("already_approved"):
        lifecycle.approve(actor=actor(cast.bob), exception=found.id)
    lifecycle.approve(actor=actor(cast.lea), exception=found.id)
    found.refresh_from_db()
    assert found.state(now()) == "active"


def test_it_does_not_approve_what_has_expired_meanwhile(cast: Cast, request_one: Request) -> None:
    found = request_one(expires_at=now() + timedelta(seconds=0.2))
    while now() < found.expires_at:
        pass
    with refused("expiry_in_past"):
        lifecycle.approve(actor=actor(cast.bob), exception=found.id)


def test_it_rechecks_the_approver_when_the_record_is_written(cast: Cast, request_one: Request) -> None:
    found = request_one()
    change_user(cast.bob, actor=Actor(SERVICE), is_active=False)
    with refused("credential_revoked"):
        lifecycle.approve(actor=actor(cast.bob), exception=found.id)


def test_it_refuses_what_the_state_does_not_allow(cast: Cast, request_one: Request, approved: Request) -> None:
    requested, standing = request_one(), approved()
    bob, lea = actor(cast.bob), actor(cast.lea)
    closings: list[Callable[..., Placed]] = [lifecycle.revoke, lifecycle.remediate, lifecycle.refuse_renewal]
    for doing in closings:
        with refused("transition_not_allowed"):
            doing(actor=lea, exception=requested.id, reason="x")
    for doing in (lifecycle.approve, lifecycle.reject, lifecycle.withdraw, lifecycle.approve_renewal):
        with refused("transition_not_allowed"):
            doing(actor=lea, exception=standing.id, reason="x")
    lifecycle.revoke(actor=bob, exception=standing.id, reason="Fixed upstream")
    for doing in (lifecycle.revoke, lifecycle.remediate, lifecycle.approve):
        with refused("transition_not_allowed"):
            doing(actor=lea, exception=standing.id, reason="x")
    with refused("exception_unknown"):
        lifecycle.approve(actor=bob, exception="EXC-0099")
    others = approved(owner="alice@example.com")
    with refused("exception_unknown"):  # outside Charlie's systems, and not his own
        lifecycle.remediate(actor=actor(cast.charlie), exception=others.id, reason="x")


def test_it_wants_a_reason(cast: Cast, request_one: Request, approved: Request) -> None:
    found, standing = request_one(), approved()
    for doing, number in ((lifecycle.reject, found.id), (lifecycle.revoke, standing.id)):
        with refused("reason_required"):
            doing(actor=actor(cast.bob), exception=number, reason="  ")


def test_it_can_be_rejected_withdrawn_revoked_and_remediated(
    cast: Cast, request_one: Request, approved: Request
) -> None:
    ends: dict[str, tuple[Callable[..., Placed], SecurityException, User]] = {
        "rejected": (lifecycle.reject, request_one(), cast.bob),
        "withdrawn": (lifecycle.withdraw, request_one(), cast.alice),
        "revoked": (lifecycle.revoke, approved(), cast.lea),
        "remediated": (lifecycle.remediate, approved(), cast.alice),
    }
    for state, (end, found, person) in ends.items():
        end(actor=actor(person), exception=found.id, reason="Because")
        found.refresh_from_db()
        assert found.state(now()) == state
        assert found.closed_at is not None
        assert found.transitions.order_by("-index")[0].reason == "Because"


# -- renewing ----------------------------------------------------------------------------------------------------------


def renew(cast: Cast, found: SecurityException, days: float, by: User | None = None) -> None:
    lifecycle.request_renewal(actor=actor(cast.alice), exception=found.id, expires_at=in_days(days), reason="Not yet")
    lifecycle.approve_renewal(actor=actor(by or cast.bob), exception=found.id)
    found.refresh_from_db()


def test_it_keeps_the_original_date_through_renewals(cast: Cast, approved: Request) -> None:
    found = approved()
    first = found.expires_at
    renew(cast, found, 40)
    second = found.expires_at
    renew(cast, found, 60)
    assert found.original_expires_at == first
    assert [renewal.previous_expires_at for renewal in found.renewals.all()] == [first, second]
    assert found.renewals_made == 2


def test_it_holds_the_old_date_until_a_renewal_is_approved(cast: Cast, approved: Request) -> None:
    found = approved()
    before = found.expires_at
    lifecycle.request_renewal(actor=actor(cast.alice), exception=found.id, expires_at=in_days(40), reason="More time")
    with refused("transition_not_allowed"):
        lifecycle.request_renewal(actor=actor(cast.lea), exception=found.id, expires_at=in_days(50), reason="More")
    found.refresh_from_db()
    assert (found.renewal_pending, found.expires_at) == (True, before)
    lifecycle.refuse_renewal(actor=actor(cast.bob), exception=found.id, reason="Enough")
    found.refresh_from_db()
    assert (found.renewal_pending, found.expires_at, found.renewals_made) == (False, before, 0)
    assert found.state(now()) == "active"


def test_it_separates_duties_for_renewals_too(cast: Cast, approved: Request) -> None:
    found = approved(owner="max@example.com")
    lifecycle.request_renewal(actor=actor(cast.lea), exception=found.id, expires_at=in_days(40), reason="More time")
    for person in (cast.lea, cast.max):  # who asked for the renewal, who owns the exception
        with refused("self_approval"):
            lifecycle.approve_renewal(actor=actor(person), exception=found.id)
    lifecycle.approve_renewal(actor=actor(cast.bob), exception=found.id)


def test_it_needs_two_people_for_the_renewal_of_a_critical_one(cast: Cast, approved: Request) -> None:
    found = approved(severity="critical")
    lifecycle.request_renewal(actor=actor(cast.alice), exception=found.id, expires_at=in_days(40), reason="More time")
    lifecycle.approve_renewal(actor=actor(cast.bob), exception=found.id)
    with refused("already_approved"):
        lifecycle.approve_renewal(actor=actor(cast.bob), exception=found.id)
    found.refresh_from_db()
    assert found.renewal_pending
    lifecycle.approve_renewal(actor=actor(cast.lea), exception=found.id)
    found.refresh_from_db()
    assert found.renewals_made == 1


def test_it_needs_an_executive_for_the_third_renewal(cast: Cast, approved: Request) -> None:
    found = approved()
    renew(cast, found, 40)
    renew(cast, found, 60)
    lifecycle.request_renewal(actor=actor(cast.alice), exception=found.id, expires_at=in_days(80), reason="Again")
    for person in (cast.bob, cast.root):
        with refused("executive_required"):
            lifecycle.approve_renewal(actor=actor(person), exception=found.id)
    lifecycle.approve_renewal(actor=actor(cast.max), exception=found.id)
    found.refresh_from_db()
    assert found.renewals_made == 3


@pytest.mark.parametrize(("days", "code"), [(10, "expiry_not_later"), (-1, "expiry_in_past"), (388, "term_too_long")])
def test_it_refuses_a_renewal_with_wrong_dates(cast: Cast, approved: Request, days: int, code: str) -> None:
    found = approved()
    with refused(code):
        lifecycle.request_renewal(actor=actor(cast.alice), exception=found.id, expires_at=in_days(days), reason="x")


def test_it_can_be_closed_while_a_renewal_waits(cast: Cast, approved: Request) -> None:
    found = approved()
    lifecycle.request_renewal(actor=actor(cast.alice), exception=found.id, expires_at=in_days(40), reason="More time")
    lifecycle.revoke(actor=actor(cast.bob), exception=found.id, reason="Breach")
    found.refresh_from_db()
    assert (found.state(now()), found.renewal_pending) == ("revoked", False)
    assert found.renewals.get().state == Renewal.DROPPED


# -- amending ----------------------------------------------------------------------------------------------------------


def test_it_needs_approval_again_after_an_amendment(cast: Cast, approved: Request) -> None:
    found = approved()
    dates = (found.effective_from, found.expires_at)
    changes = {"severity": "high", "requirements": ["dependency-alerts", "uptime"], "systems": ["billing"]}
    lifecycle.amend(actor=actor(cast.lea), exception=found.id, reason="Wider than thought", changes=changes)
    found.refresh_from_db()
    assert found.state(now()) == "requested"
    assert (found.severity, found.systems) == ("high", [cast.billing.id])
    assert (found.effective_from, found.expires_at) == dates
    with refused("self_approval"):  # who wrote it does not approve it
        lifecycle.approve(actor=actor(cast.lea), exception=found.id)
    lifecycle.approve(actor=actor(cast.bob), exception=found.id)  # Bob's earlier approval no longer counts
    found.refresh_from_db()
    assert found.state(now()) == "active"


def test_it_changes_no_dates_by_amendment(cast: Cast, approved: Request) -> None:
    found = approved()
    for changes in ({"expires_at": "2030-01-01"}, {}):
        with refused("amendment_invalid"):
            lifecycle.amend(actor=actor(cast.lea), exception=found.id, reason="x", changes=changes)
    with refused("person_unknown"):
        lifecycle.amend(actor=actor(cast.lea), exception=found.id, reason="x", changes={"owner": "x@example.com"})


# -- questions ---------------------------------------------------------------------------------------------------------


def test_it_answers_as_of_questions_from_recorded_times(cast: Cast, approved: Request) -> None:
    before = now()
    found = approved()
    between = now()
    renew(cast, found, 40)
    lifecycle.remediate(actor=actor(cast.alice), exception=found.id, reason="Done")
    after = now()
    ask = SecurityException.objects
    assert not ask.open_at(before).exists()
    assert ask.open_at(between).exists()
    assert not ask.open_at(after).exists()
    assert ask.open_during(before, after).exists()
    assert ask.open_during(before - timedelta(days=9), between).exists()
    assert not ask.open_during(after, after + timedelta(days=9)).exists()
    assert not ask.open_during(before - timedelta(days=9), before).exists()
    assert ask.was_in_state("active", between).exists()
    assert not ask.was_in_state("remediated", between).exists()
    assert found.transitions.get(kind="exception.approved").expires_at == found.original_expires_at


def test_it_tells_active_expiring_and_expired_by_their_dates(approved: Request) -> None:
    approved(expires_at=in_days(20)), approved(expires_at=in_days(100))
    ask = SecurityException.objects
    assert ask.active(now()).count() == 2
    assert ask.expiring(now(), timedelta(days=30)).count() == 1
    assert ask.expired(in_days(21)).count() == 1
    assert ask.in_state("due", now()).count() == 1
    assert ask.due_for_reminder(now()).count() == 1


def test_it_waives_only_while_active_and_never_before_its_approval(cast: Cast, request_one: Request) -> None:
    found = request_one(effective_from=in_days(-20))
    ask = ("dependency-alerts", cast.trading.id, "netlify-trading:release-20261122")
    requested = now()
    assert waivers(*ask, requested) == []
    lifecycle.approve(actor=actor(cast.bob), exception=found.id)
    (waiver,) = waivers(*ask, now())
    assert (waiver.exception, waiver.expires_at) == (found.id, found.expires_at)
    assert waivers(*ask, requested) == []
    assert waivers(*ask, found.expires_at) == []
    assert waivers("uptime", cast.trading.id, None, now()) == []
    assert waivers("dependency-alerts", cast.billing.id, None, now()) == []
    lifecycle.revoke(actor=actor(cast.bob), exception=found.id, reason="Breach")
    assert waivers(*ask, now()) == []


def test_it_keeps_every_record_until_retention_after_the_closing(cast: Cast, approved: Request) -> None:
    found = approved(severity="low", expires_at=in_days(300))
    indexes = list(found.transitions.values_list("index", flat=True))
    kept = set(Payload.objects.filter(index__in=indexes).values_list("retain_until", flat=True))
    assert min(kept) > in_days(300 + 7 * 365)
    renew(cast, found, 500)
    assert min(Payload.objects.filter(index__in=indexes).values_list("retain_until", flat=True)) > in_days(
        500 + 7 * 365
    )
