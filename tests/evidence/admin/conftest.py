"""The cast in a fresh ledger, and browsers signed in as one of them."""

from collections.abc import Callable

import pytest
from django.test import Client

from evidence.ledger import Actor, append
from evidence.models import Release, User
from evidence.records import plain_draft
from tests.cast import Cast, assemble
from tests.conftest import Clone

MANIFEST = {
    "commit": "a" * 40,
    "author": "alice@example.com",
    "environment": "production",
    "summary": {"web": "New order form"},
    "artifacts": [{"name": "web.tar.gz", "size": 1024, "sha256": "b" * 64}],
}


@pytest.fixture
def cast(ledger: Clone) -> Cast:
    return assemble()


@pytest.fixture
def as_(cast: Cast) -> Callable[[str], Client]:
    """A client signed in as one of the cast: ``as_("root")``."""

    def sign_in(name: str) -> Client:
        client = Client()
        user: User = getattr(cast, name)
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def release(cast: Cast) -> Release:
    """A release of netlify-trading with its manifest, opened by Cora."""
    body = {
        "system": "netlify-trading",
        "tag": "release-20260312",
        "type": "regular",
        "ticket_id": "REL-312",
        "ticket_url": "https://tickets.example.com/REL-312",
        "captain": "Cora",
        "dashboards": [{"name": "Errors", "url": "https://dash.example.com/errors"}],
        "window": {"from": "2026-03-12T14:00:00Z", "to": "2026-03-12T16:00:00Z"},
    }
    cora = Actor(cast.cora.uid, ("user", cast.cora.uid))
    append(plain_draft({"kind": "release.opened", "body": body}, principal=cast.cora, actor=cora))
    post_manifest(cast)
    return Release.objects.get()


def post_manifest(cast: Cast, **changes: object) -> None:
    data = {"kind": "deploy.manifest", "release": "netlify-trading:release-20260312", "body": MANIFEST | changes}
    append(plain_draft(data, principal=cast.ci, actor=Actor(cast.ci.uid)))
