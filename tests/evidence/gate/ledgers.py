"""A ledger of plain values, and what a rule of the built-in policy finds in it. No database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from evidence.events import Event
from evidence.gate import policy
from evidence.gate.facts import Facts
from evidence.gate.findings import Finding
from evidence.gate.rules import load

NOW = datetime(2026, 11, 22, 15, tzinfo=UTC)
OLD, BUILD, OTHER = ("sha256:" + letter * 64 for letter in "abc")
FILE, OTHER_FILE = "sha256:" + "d" * 64, "sha256:" + "e" * 64
RELEASE = "web:r1"
HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)
COMMIT = "f" * 40


class Ledger:
    """Numbers events as the ledger would."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, kind: str, ago: timedelta = HOUR, *, received: timedelta | None = None, **more: Any) -> "Ledger":
        """An event that happened so long ago and was received then, or `received` ago."""
        own = {"by", "subjects", "outcome", "release", "has_evidence"} & more.keys()
        named = {name: more.pop(name) for name in own}
        at = NOW - (ago if received is None else received)
        event = Event(len(self.events) + 1, kind, at, NOW - ago, **{"by": "p", "release": RELEASE} | named, facts=more)
        self.events.append(event)
        return self

    def manifest(self, digest: str = BUILD, ago: timedelta = 5 * HOUR, **more: Any) -> "Ledger":
        body = {"commit": COMMIT, "author": "alice@x", "manifest_digest": digest} | more
        return self.add("deploy.manifest", ago, subjects=frozenset({FILE}), by="ci", **body)

    def approval(self, ago: timedelta, outcome: str = "approved", digest: str = BUILD, by: str = "bob") -> "Ledger":
        return self.add("approval", ago, role="qa", outcome=outcome, manifest_digest=digest, by=by)

    def deployed(self, environment: str, ago: timedelta, digest: str = BUILD, outcome: str = "succeeded") -> "Ledger":
        where: dict[str, Any] = {"environment": environment, "manifest_digest": digest}
        return self.add("deploy.started", ago, **where).add("deploy.finished", ago, outcome=outcome, **where)

    def check(self, name: str, ago: timedelta, outcome: str = "passed", digest: str = BUILD, **more: Any) -> "Ledger":
        where: dict[str, Any] = {"environment": "staging", "manifest_digest": digest, "check": name}
        return self.add("validation.result", ago, outcome=outcome, **where, **more)

    def facts(self, **changes: Any) -> Facts:
        found = Facts(RELEASE, "regular", ("Desk",), "production", NOW, 1000, 0, tuple(self.events), roles=("qa",))
        return replace(found, severities=policy.load().severities, **changes)


def judge(name: str, ledger: Ledger, changes: dict[str, Any] | None = None, **parameters: Any) -> Finding:
    """The finding of the built-in requirement of that name."""
    requirement = next(r for r in policy.load().requirements("web") if r.name == name)
    return load()[requirement.rule].apply(ledger.facts(**changes or {}), replace(requirement.parameters, **parameters))


def suites(log: Ledger, *named: str, ago: timedelta = 2 * HOUR, **more: Any) -> Ledger:
    for suite in named or ("unit", "integration", "contract", "lint"):
        log.add("test.result", ago, suite=suite, **{"outcome": "passed", "manifest_digest": BUILD} | more)
    return log
