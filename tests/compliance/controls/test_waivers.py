"""Two ways to the same answer: what the register's rows waive, and what the records themselves say."""

from datetime import datetime, timedelta

import pytest

from compliance.controls.exceptions import waivers as from_records
from compliance.controls.populations import Period, exception_lives
from evidence.ledger import Actor, reader
from evidence.models import User
from evidence.waivers import waivers_of
from exceptions import lifecycle
from exceptions.models import SecurityException, Transition
from exceptions.waivers import waivers as from_register
from tests.cast import Cast

NAMES = ("approval-qa", "uptime")
RELEASES = [None, "netlify-trading:r1", "netlify-trading:r2"]


def actor(user: User) -> Actor:
    return Actor(user.uid, ("user", user.uid))


class Register:
    """Shorter words for what people do about exceptions."""

    def __init__(self, cast: Cast, now: datetime) -> None:
        self.cast, self.now = cast, now

    def request(self, **changes: object) -> str:
        asked = {
            "title": "QA is away",
            "justification": "One person, on leave",
            "severity": "medium",
            "systems": ["netlify-trading"],
            "owner": "charlie@example.com",
            "requirements": ["approval-qa"],
            "expires_at": self.now + timedelta(days=10),
        }
        placed = lifecycle.request_exception(
            actor=actor(self.cast.alice),
            application=lifecycle.Application(**asked | changes),  # type: ignore[arg-type]  # members of `asked`
        )
        return str(placed.body["exception"])

    def approve(self, name: str, *people: User) -> str:
        for person in people or (self.cast.bob,):
            lifecycle.approve(actor=actor(person), exception=name, reason="Seen")
        return name

    def renew(self, name: str, days: int, *people: User) -> None:
        until = self.now + timedelta(days=days)
        lifecycle.request_renewal(actor=actor(self.cast.alice), exception=name, expires_at=until, reason="Longer")
        for person in people:
            lifecycle.approve_renewal(actor=actor(person), exception=name)


@pytest.fixture
def register(cast: Cast) -> Register:
    from datetime import UTC

    return Register(cast, datetime.now(UTC))


def live(register: Register) -> None:
    """Every way in which an exception begins, changes and ends."""
    cast, day = register.cast, timedelta(days=1)
    register.request()  # nobody approves
    register.approve(register.request(effective_from=register.now - 5 * day))
    register.approve(register.request(effective_from=register.now + 5 * day, requirements=["uptime"]))
    register.approve(register.request(severity="critical"), cast.bob)  # a second approval lacks
    register.approve(register.request(severity="critical", systems=["billing"]), cast.bob, cast.lea)
    revoked = register.approve(register.request(requirements=["approval-qa", "uptime"]))
    lifecycle.revoke(actor=actor(cast.bob), exception=revoked, reason="Breach")
    renewed = register.approve(register.request())
    register.renew(renewed, 30, cast.bob)
    half = register.approve(register.request(severity="critical"), cast.bob, cast.lea)
    register.renew(half, 25, cast.bob)  # and only one agrees
    amended = register.approve(register.request())
    wider = {"requirements": ["uptime"], "systems": ["billing"]}
    lifecycle.amend(actor=actor(cast.alice), exception=amended, reason="Wider", changes=wider)
    again = register.approve(register.request())
    changes = {"requirements": ["approval-qa", "uptime"]}
    lifecycle.amend(actor=actor(cast.alice), exception=again, reason="Wider", changes=changes)
    register.approve(again, cast.lea)
    register.approve(register.request(releases=["netlify-trading:r1"]))
    moved = register.approve(register.request(releases=["netlify-trading:r2"]))
    changes = {"releases": ["netlify-trading:r1"]}
    lifecycle.amend(actor=actor(cast.alice), exception=moved, reason="Moved", changes=changes)
    register.approve(moved, cast.lea)
    replaced = register.approve(register.request())
    lifecycle.supersede(actor=actor(cast.alice), exception=replaced, by=again, reason="One for both")


def test_it_agrees_at_every_moment_whichever_way_it_is_asked(cast: Cast, register: Register) -> None:
    live(register)
    ends = list(SecurityException.objects.values_list("expires_at", "effective_from"))
    moments = {at for pair in ends for at in pair} | set(Transition.objects.values_list("at", flat=True))
    step = timedelta(microseconds=1)
    period = Period.pinned(register.now - timedelta(days=60), register.now + timedelta(days=60))
    recorded = from_records(list(exception_lives(period)))
    compared = 0
    for moment in sorted({at + delta for at in moments for delta in (-step, timedelta(0), step)}):
        for system in (cast.trading.id, cast.billing.id):
            for name in NAMES:
                for release in RELEASES if name == NAMES[0] else [None]:
                    rows = {waiver.exception for waiver in from_register(name, system, release, moment)}
                    said = {w.exception for w in recorded if w.covers(frozenset({name}), [system], release, moment)}
                    gate = waivers_of([name], system, release, moment, reader.size())
                    assert rows == said, (name, system, release, moment)
                    assert bool(rows) == (name in gate)
                    compared += len(rows)
    assert compared > 100


def test_it_answers_as_the_first_records_say(cast: Cast, register: Register) -> None:
    name = register.approve(register.request())
    then = reader.size()
    lifecycle.revoke(actor=actor(cast.bob), exception=name, reason="Breach")
    revoked_at = Transition.objects.get(index=reader.size() - 1).at
    assert waivers_of(["approval-qa"], cast.trading.id, None, revoked_at, then)["approval-qa"].exception == name
    assert waivers_of(["approval-qa"], cast.trading.id, None, revoked_at, reader.size()) == {}
