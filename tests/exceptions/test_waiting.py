"""What lists say is waiting for somebody is what the rules would let them approve, in every state there is."""

from django.utils import timezone

from evidence.people import change_user, visible_systems
from exceptions import lifecycle, rules, waiting
from exceptions.importing import jobs
from exceptions.models import ExceptionApproval, Import, SecurityException
from tests.cast import Cast
from tests.exceptions.conftest import Request, actor, in_days
from tests.exceptions.importing.files import csv_of, row


def test_it_agrees_with_the_rules(cast: Cast, request_one: Request, approved: Request) -> None:
    _every_state(cast, request_one, approved)
    change_user(cast.bob, actor=actor(cast.root), systems=[cast.trading])  # a decider who sees a part
    now, found = timezone.now(), list(SecurityException.objects.all())
    asked = {name: getattr(cast, name) for name in ("alice", "bob", "charlie", "lea", "cora", "ada", "max", "root")}
    waits = {
        name: set(waiting.waiting_for(user, visible_systems(user), now).values_list("pk", flat=True))
        for name, user in asked.items()
    }
    allowed = {
        name: {one.pk for one in found if {"approved", "renewed"} & set(rules.moves(one, user, now))}
        for name, user in asked.items()
    }
    assert waits == allowed
    assert not waits["alice"]
    given = set(ExceptionApproval.objects.filter(person=cast.max.uid).values_list("exception", flat=True))
    assert waits["bob"] - given < waits["max"]  # neither what needs an executive, nor what is not his
    for user in asked.values():
        decisions, claims = (
            ask(user, visible_systems(user), now) for ask in (waiting.decisions_for, waiting.claims_for)
        )
        apart = [set(each.values_list("pk", flat=True)) for each in (decisions, claims)]
        assert apart[0] | apart[1] == set(
            waiting.waiting_for(user, visible_systems(user), now).values_list("pk", flat=True)
        )
        assert not apart[0] & apart[1]


def _every_state(cast: Cast, request_one: Request, approved: Request) -> None:
    """Waiting, half approved, amended, of other systems, closed; renewals of each kind; claims, one over-long."""
    request_one(), request_one(by=cast.lea), request_one(owner="bob@example.com"), request_one(systems=["billing"])
    request_one(systems=["billing", "netlify-trading"])
    half = request_one(severity="critical")
    lifecycle.approve(actor=actor(cast.bob), exception=half.pk, reason="One of two")
    amended = request_one()
    lifecycle.amend(actor=actor(cast.root), exception=amended.pk, reason="Says more", changes={"title": "Old TLS 1.0"})
    for end in (lifecycle.reject, lifecycle.withdraw):
        end(actor=actor(cast.lea), exception=request_one().pk, reason="No")
    approved()
    renewed = approved(expires_at=in_days(10))
    for days in (20, 30, 40):
        lifecycle.request_renewal(
            actor=actor(cast.alice), exception=renewed.pk, expires_at=in_days(days), reason="Late"
        )
        if days < 40:
            lifecycle.approve_renewal(actor=actor(cast.bob), exception=renewed.pk, reason="Yes")
    twice = approved(severity="critical", expires_at=in_days(10))
    lifecycle.request_renewal(actor=actor(cast.lea), exception=twice.pk, expires_at=in_days(20), reason="Late")
    lifecycle.approve_renewal(actor=actor(cast.bob), exception=twice.pk, reason="One of two")
    _over_long(cast, request_one, approved)
    sheet = csv_of(row(), row(ref="SEC-2", expires=str(in_days(300).date())), row(ref="SEC-3", expires="2024-01-31"))
    found = jobs.open_import(person=cast.lea, filename="r.csv", data=sheet)
    jobs.run(found.pk)
    found.refresh_from_db()
    assert found.state == Import.CHECKED, found.error
    jobs.confirm(found, person=cast.lea, only_good=False)
    jobs.run(found.pk)
    assert SecurityException.objects.filter(decision="claimed").count() == 3


def _over_long(cast: Cast, request_one: Request, approved: Request) -> None:
    """Requests and renewals beyond what others than executives may allow; of some a first approval was given."""
    for by in (None, cast.bob, cast.max):
        for severity, days in (("high", 100), ("critical", 60)):
            asked = request_one(severity=severity, expires_at=in_days(days))
            renewed = approved(severity=severity, expires_at=in_days(5))
            lifecycle.request_renewal(
                actor=actor(cast.alice), exception=renewed.pk, expires_at=in_days(days + 5), reason="Late"
            )
            if by is not None and severity == "critical":
                lifecycle.approve(actor=actor(by), exception=asked.pk, reason="One of two")
                lifecycle.approve_renewal(actor=actor(by), exception=renewed.pk, reason="One of two")
