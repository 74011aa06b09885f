"""A month in the life: exceptions of every age and state, and a release that was played."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from evidence.ledger import Actor, append, service_draft
from evidence.ledger.check import check
from evidence.models import Release, User
from exceptions import lifecycle
from exceptions.models import SecurityException
from tests.cast import Cast, assemble
from tests.conftest import Clone

MANIFEST = {
    "commit": "ab" * 20,
    "author": "alice@example.com",
    "artifacts": [{"name": "build.zip", "size": 3, "sha256": "cd" * 32}],
}
TAG = "release-20260312"
RELEASE = f"netlify-trading:{TAG}"


@pytest.fixture
def cast(ledger: Clone) -> Iterator[Cast]:
    """Everybody; at the end the whole ledger is recomputed."""
    yield assemble()
    assert check() == []


def actor(user: User) -> Actor:
    return Actor(user.uid, ("user", user.uid))


def request_exception(cast: Cast, *, ends: timedelta, approve: bool = True, **changes: Any) -> SecurityException:
    asked = {
        "title": "Old TLS on the partner gateway",
        "justification": "The partner upgrades in spring.",
        "severity": "high",
        "systems": ["netlify-trading"],
        "owner": "charlie@example.com",
        "expires_at": datetime.now(UTC) + ends,
        **changes,
    }
    placed = lifecycle.request_exception(actor=actor(cast.alice), application=lifecycle.Application(**asked))
    found = SecurityException.objects.get(pk=placed.body["exception"])
    if approve:
        for person in [cast.bob, cast.lea][: found.approvals_needed]:
            lifecycle.approve(actor=actor(person), exception=found.pk, reason="Seen")
    found.refresh_from_db()
    return found


def play_release(cast: Cast, *, ago: timedelta | None = None) -> None:
    """Opened, approved by QA, deployed, validated, all of it now or so long ago; nobody attached metrics."""
    occurred = datetime.now(UTC) - ago if ago is not None else None

    def post(kind: str, body: dict[str, Any], by: Actor | None = None) -> dict[str, Any]:
        by = by or Actor(cast.ci.uid)
        where: dict[str, Any] = {"systems": [cast.trading.id], "release": RELEASE, "occurred": occurred}
        return append(service_draft(kind, body, actor=by, **where)).body

    opened = {
        "system": "netlify-trading",
        "tag": TAG,
        "type": "regular",
        "ticket_id": "TRD-1",
        "ticket_url": "https://tickets.example.com/TRD-1",
        "captain": "Cora",
    }
    post("release.opened", opened, actor(cast.cora))
    post("deploy.manifest", MANIFEST)
    digest = Release.objects.values_list("manifest_digest", flat=True).get(pk=RELEASE)
    post("approval", {"role": "qa", "decision": "approved", "manifest_digest": digest}, actor(cast.bob))
    deploy = {"environment": "production", "manifest_digest": digest}
    post("deploy.started", deploy)
    post("deploy.finished", deploy | {"outcome": "succeeded"})
    post("validation.result", {"check": "HTTP 200", "environment": "production", "outcome": "passed"})


def decide(person: User, role: str, decision: str, cast: Cast) -> None:
    """Sign in a role for the newest manifest, as history would have it: nobody asks whose role it is."""
    digest = Release.objects.values_list("manifest_digest", flat=True).get(pk=RELEASE)
    body = {"role": role, "decision": decision, "manifest_digest": digest, "comment": "seen"}
    append(service_draft("approval", body, actor=actor(person), systems=[cast.trading.id], release=RELEASE))


def play_manifest(cast: Cast, **changes: str) -> None:
    """A newer build of the release."""
    draft = service_draft(
        "deploy.manifest", MANIFEST | changes, actor=Actor(cast.ci.uid), systems=[cast.trading.id], release=RELEASE
    )
    append(draft)


@pytest.fixture
def browser(cast: Cast) -> Client:
    """Max, the executive, signed in."""
    client = Client()
    client.force_login(cast.max)
    return client
