"""A release as the field plays it, written straight into the ledger; tests leave parts out or turn them round."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from evidence.ledger import Actor, Placed, append, service_draft
from evidence.ledger.check import check
from evidence.models import User
from evidence.tlog.canonical import canonical
from tests.cast import Cast, assemble


@pytest.fixture
def cast(ledger: Any) -> Iterator[Cast]:
    """Everybody; at the end the whole ledger is recomputed."""
    yield assemble()
    assert check() == []


def actor(user: User) -> Actor:
    return Actor(user.uid, ("user", user.uid))


def digest(value: Any) -> str:
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


@dataclass
class Story:
    """Writes records of one release; every step can be left out."""

    cast: Cast
    tag: str = "release-20261122"
    placed: dict[str, Placed] = field(default_factory=dict)

    @property
    def release(self) -> str:
        return f"{self.cast.trading.name}:{self.tag}"

    @property
    def manifest(self) -> dict[str, Any]:
        artifact = {"name": "app.tar.gz", "size": 3, "sha256": hashlib.sha256(b"app").hexdigest()}
        return {
            "commit": "ab" * 20,
            "author": "dora@example.com",
            "artifacts": [artifact],
            "summary": {"tag": self.tag},
        }

    @property
    def digest(self) -> str:
        return digest(self.manifest)

    def write(self, kind: str, body: dict[str, Any], *, by: Actor | None = None, **more: Any) -> Placed:
        who = by or Actor(self.cast.ci.uid)
        draft = service_draft(kind, body, actor=who, systems=[self.cast.trading.pk], release=self.release, **more)
        placed = append(draft)
        self.placed[kind] = placed
        return placed

    def open(self, **changes: Any) -> "Story":
        body = {
            "system": self.cast.trading.name,
            "tag": self.tag,
            "type": "regular",
            "ticket_id": "TRD-1042",
            "ticket_url": "https://tickets.example.com/TRD-1042",
            "dashboards": [{"name": "Health", "url": "https://dashboards.example.com/1"}],
            "captain": "Cora",
            "commander": "Bob",
            **changes,
        }
        self.write("release.opened", body)
        return self

    def build(self, **changes: Any) -> "Story":
        """Manifest and a passed test of it."""
        self.write("deploy.manifest", self.manifest | changes)
        self.write("test.result", {"suite": "unit", "outcome": "passed", "manifest_digest": self.digest})
        return self

    def approve(self, *roles: str) -> "Story":
        people = {"product": self.cast.lea, "design": self.cast.charlie, "qa": self.cast.bob, "sre": self.cast.cora}
        for role in roles or people:
            body = {"role": role, "decision": "approved", "manifest_digest": self.digest, "comment": "=looks good"}
            self.write("approval", body, by=actor(people[role]))
        return self

    def deploy(self, **changes: Any) -> "Story":
        body = {"environment": "production", "manifest_digest": self.digest} | changes
        self.write("deploy.started", body)
        self.write("deploy.finished", body | {"outcome": "succeeded"})
        return self

    def validate(self) -> "Story":
        self.write("validation.result", {"check": "canary", "environment": "production", "outcome": "passed"})
        self.write("metrics.snapshot", {"environment": "production", "metrics": {"error_rate": 0.1}})
        return self


@pytest.fixture
def story(cast: Cast) -> Callable[..., Story]:
    return lambda **changes: Story(cast, **changes)


@pytest.fixture
def around() -> tuple[datetime, datetime]:
    """A period with now in its middle."""
    now = datetime.now(UTC)
    return now - timedelta(days=30), now + timedelta(days=30)
