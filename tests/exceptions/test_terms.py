"""What an approval freezes, what an exception covers, and how it ends for good."""

import hashlib

from evidence.ledger import Actor, reader
from evidence.models import Record, User
from evidence.models.people import SERVICE
from evidence.people import change_user
from evidence.tlog.canonical import canonical
from exceptions import lifecycle
from exceptions.frozen import terms_digest
from exceptions.models import SecurityException
from exceptions.waivers import for_gate, waivers
from tests.cast import Cast
from tests.exceptions.conftest import Request, actor, in_days
from tests.exceptions.refusing import refused
from tests.exceptions.test_lifecycle import now, renew


def approval_bodies(found: SecurityException) -> list[dict[str, object]]:
    rows = found.transitions.filter(kind__in=["exception.approved", "exception.renewed"])
    return [reader.get(row.index).recorded.body for row in rows]


# -- the digest --------------------------------------------------------------------------------------------------------


def test_it_freezes_the_terms_that_anybody_computes_from_the_request(cast: Cast, approved: Request) -> None:
    found = approved()
    asked = reader.get(found.requested_index).recorded
    names = ["title", "justification", "severity", "requirements", "releases", "compensating_controls", "owner"]
    said = {name: asked.body[name] for name in [*names, "exception", "effective_from", "expires_at"]}
    said |= {"systems": sorted(asked.leaf.scope), "risk": asked.body.get("risk")}
    assert approval_bodies(found)[0]["terms"] == "sha256:" + hashlib.sha256(canonical(said)).hexdigest()
    assert found.approvals.get().terms == terms_digest(found)


def test_it_freezes_the_expiry_that_a_renewal_brings(cast: Cast, approved: Request) -> None:
    found = approved()
    before = terms_digest(found)
    renew(cast, found, 40)
    first, second = approval_bodies(found)
    assert first["terms"] == before != second["terms"] == terms_digest(found)


def test_it_approves_nothing_but_what_was_seen(cast: Cast, approved: Request) -> None:
    found = approved()
    seen = terms_digest(found)
    lifecycle.amend(actor=actor(cast.lea), exception=found.pk, reason="Wider", changes={"requirements": ["uptime"]})
    with refused("terms_changed"):
        lifecycle.approve(actor=actor(cast.bob), exception=found.pk, terms=seen)
    found.refresh_from_db()
    assert found.state(now()) == "requested"
    lifecycle.approve(actor=actor(cast.bob), exception=found.pk, terms=terms_digest(found))
    lifecycle.request_renewal(actor=actor(cast.alice), exception=found.pk, expires_at=in_days(40), reason="Later")
    with refused("terms_changed"):  # the digest with the present expiry is not what is asked for
        lifecycle.approve_renewal(actor=actor(cast.bob), exception=found.pk, terms=terms_digest(found))
    asked = found.pending_renewal
    assert asked is not None
    frozen = terms_digest(found, expires_at=asked.expires_at)
    lifecycle.approve_renewal(actor=actor(cast.bob), exception=found.pk, terms=frozen)


# -- releases ----------------------------------------------------------------------------------------------------------


def test_it_waives_for_the_releases_that_it_names_alone(cast: Cast, approved: Request) -> None:
    found = approved(releases=["netlify-trading:release-7", "netlify-trading:release-8"])
    ask = ("dependency-alerts", cast.trading.id)
    assert [one.exception for one in waivers(*ask, "netlify-trading:release-8", now())] == [found.pk]
    assert waivers(*ask, "netlify-trading:release-9", now()) == []
    assert waivers(*ask, None, now()) == []
    given = for_gate(["dependency-alerts"], cast.trading.id, "netlify-trading:release-7", now(), None)
    assert [one.exception for one in given] == [found.pk]
    changes = {"releases": ["netlify-trading:release-9"]}
    lifecycle.amend(actor=actor(cast.lea), exception=found.pk, reason="Moved", changes=changes)
    lifecycle.approve(actor=actor(cast.bob), exception=found.pk)
    assert waivers(*ask, "netlify-trading:release-9", now())
    assert waivers(*ask, "netlify-trading:release-8", now()) == []


def test_it_refuses_releases_of_other_systems(cast: Cast, request_one: Request, approved: Request) -> None:
    for releases in (["billing:r-1"], ["netlify-trading"], ["netlify-trading:"], ["netlify-trading:a b"]):
        with refused("release_invalid"):
            request_one(releases=releases)
    found = approved(releases=["netlify-trading:release-7"])
    for changes in ({"systems": ["billing"]}, {"releases": ["billing:r-1"]}):
        with refused("release_invalid"):
            lifecycle.amend(actor=actor(cast.lea), exception=found.pk, reason="x", changes=changes)
    both = {"systems": ["billing"], "releases": ["billing:r-1"]}
    lifecycle.amend(actor=actor(cast.lea), exception=found.pk, reason="x", changes=both)


# -- put right ---------------------------------------------------------------------------------------------------------


def test_it_wants_evidence_of_a_remediation_where_the_policy_does(cast: Cast, approved: Request) -> None:
    found = approved(severity="high")

    def remediate(*evidence: int) -> None:
        lifecycle.remediate(actor=actor(cast.alice), exception=found.pk, reason="Upgraded", evidence=evidence)

    with refused("evidence_required"):
        remediate()
    with refused("evidence_unknown"):
        remediate(10**9)
    remediate(found.requested_index, found.requested_index)
    found.refresh_from_db()
    assert found.state(now()) == "remediated"
    assert reader.get(found.last_index).recorded.body["evidence"] == [found.requested_index]


def test_it_takes_no_evidence_that_was_withdrawn_or_is_out_of_sight(cast: Cast, approved: Request) -> None:
    found = approved(severity="high")
    elsewhere = approved(systems=["billing"], by=cast.lea)
    change_user(cast.alice, actor=Actor(SERVICE), systems=[cast.trading])
    alice = User.objects.get(pk=cast.alice.pk)
    with refused("evidence_unknown"):
        lifecycle.remediate(actor=actor(alice), exception=found.pk, reason="x", evidence=[elsewhere.requested_index])
    Record.objects.filter(index=found.requested_index).update(withdrawn_by=found.requested_index)
    with refused("evidence_unknown"):
        lifecycle.remediate(actor=actor(alice), exception=found.pk, reason="x", evidence=[found.requested_index])
    Record.objects.filter(index=found.requested_index).update(withdrawn_by=None)


def test_it_is_superseded_by_an_active_one(cast: Cast, approved: Request, request_one: Request) -> None:
    old, waiting, new = approved(), request_one(), approved(requirements=["uptime"])
    for by in (waiting.pk, old.pk):
        with refused("replacement_not_active"):
            lifecycle.supersede(actor=actor(cast.alice), exception=old.pk, by=by, reason="x")
    with refused("exception_unknown"):
        lifecycle.supersede(actor=actor(cast.alice), exception=old.pk, by="EXC-9999", reason="x")
    with refused("role_required"):
        lifecycle.supersede(actor=actor(cast.bob), exception=old.pk, by=new.pk, reason="x")
    lifecycle.supersede(actor=actor(cast.alice), exception=old.pk, by=new.pk, reason="One for both")
    old.refresh_from_db()
    assert (old.state(now()), old.superseded_by) == ("superseded", new.pk)
    assert waivers("dependency-alerts", cast.trading.id, None, now()) == []
    with refused("transition_not_allowed"):
        lifecycle.revoke(actor=actor(cast.bob), exception=old.pk, reason="x")


# -- one's own ---------------------------------------------------------------------------------------------------------


def test_an_owner_sees_and_closes_what_they_own_wherever_it_is(cast: Cast, approved: Request) -> None:
    found, other = approved(), approved(owner="alice@example.com")
    assert cast.charlie.systems.filter(pk=cast.trading.pk).count() == 0
    assert list(SecurityException.objects.seen_by(cast.charlie)) == [found]
    with refused("exception_unknown"):
        lifecycle.remediate(actor=actor(cast.charlie), exception=other.pk, reason="x")
    lifecycle.remediate(actor=actor(cast.charlie), exception=found.pk, reason="The gateway is gone")
    found.refresh_from_db()
    assert found.state(now()) == "remediated"


def test_an_owner_decides_nothing_about_their_own(cast: Cast, request_one: Request) -> None:
    change_user(cast.charlie, actor=Actor(SERVICE), roles=["approver"])
    found = request_one()
    with refused("self_approval"):
        lifecycle.approve(actor=actor(cast.charlie), exception=found.pk)
    found.refresh_from_db()
    assert found.state(now()) == "requested"
