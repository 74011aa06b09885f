"""Events of a release as the field tells them, without a ledger: for the pure functions."""

from datetime import UTC, datetime, timedelta
from typing import Any

from evidence.events import Event

THREE = datetime(2026, 3, 10, 15, 0, tzinfo=UTC)
BUILD, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
ROLES = ("product", "qa")


def at(minutes: float) -> datetime:
    """Minutes after three o'clock, when the window begins."""
    return THREE + timedelta(minutes=minutes)


class Story(list[Event]):
    """``story.add("deploy.started", 5, environment="staging")``: what happened, minutes after three."""

    def add(self, kind: str, minutes: float, *, later: float = 0, by: str = "ci", **facts: Any) -> "Story":
        outcome = facts.get("outcome") or facts.get("decision") or facts.get("state")
        self.append(
            Event(
                index=len(self),
                kind=kind,
                at=at(minutes + later),
                occurred=at(minutes),
                by=by,
                release="trading:r1",
                scope=("sys",),
                outcome=outcome,
                facts=facts,
            )
        )
        return self

    def manifest(self, minutes: float = -60, digest: str = BUILD) -> "Story":
        return self.add("deploy.manifest", minutes, manifest_digest=digest)

    def deploy(self, environment: str, minutes: float, *, digest: str = BUILD, **more: Any) -> "Story":
        facts: dict[str, Any] = {"environment": environment, "manifest_digest": digest}
        self.add("deploy.started", minutes, **facts, **more)
        return self.add("deploy.finished", minutes + 5, outcome="succeeded", **facts, **more)

    def approve(self, role: str, minutes: float, *, by: str, decision: str = "approved") -> "Story":
        return self.add("approval", minutes, by=by, role=role, decision=decision, manifest_digest=BUILD)
