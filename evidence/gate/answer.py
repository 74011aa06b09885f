"""The gate's answer: each requirement with its finding, and what was looked at."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evidence.gate.facts import shown
from evidence.gate.findings import PASSING, WAIVED, Finding
from evidence.gate.policy import Requirement
from evidence.tlog.leaf import format_time
from evidence.waivers import Waiver

GREEN, RED = "green", "red"
#: Records that an answer names for one requirement.
_RECORDS = 100


@dataclass(frozen=True)
class Judged:
    """A requirement with what its rule found, which a waiver never hides."""

    requirement: Requirement
    finding: Finding
    waiver: Waiver | None = None

    @property
    def state(self) -> str:
        return WAIVED if self.waiver else self.finding.state

    @property
    def passes(self) -> bool:
        return self.state in PASSING

    @property
    def detail(self) -> str:
        if self.waiver is None:
            return self.finding.detail
        return f"{self.finding.detail}; waived by {self.waiver.exception} until {shown(self.waiver.until)}"

    def to_json(self) -> dict[str, Any]:
        finding, waiver = self.finding, self.waiver
        found: dict[str, Any] = {
            "name": self.requirement.name,
            "title": self.requirement.title,
            "rule": self.requirement.rule,
            "parameters": dict(self.requirement.given),
            "state": self.state,
            "finding": finding.state,
            "detail": self.detail,
            "facts": {name: _plain(value) for name, value in finding.facts.items()},
            "happened_at": _time(finding.happened),
            "due_at": _time(finding.due),
            "records": list(finding.records[-_RECORDS:]),
            "waiver": None,
        }
        if waiver is not None:
            found["waiver"] = {
                "exception": waiver.exception,
                "title": waiver.title,
                "until": format_time(waiver.until),
                "record": waiver.index,
            }
        return found


@dataclass(frozen=True)
class Answer:
    """Whether a release may go to an environment, at a moment, by the first `size` records of the ledger."""

    release: str
    system: str
    environment: str
    as_of: datetime
    size: int
    policy: str
    policy_record: int
    manifest_digest: str | None
    requirements: tuple[Judged, ...]

    @property
    def passed(self) -> bool:
        return all(judged.passes for judged in self.requirements)

    @property
    def outcome(self) -> str:
        return GREEN if self.passed else RED

    @property
    def blocking(self) -> tuple[Judged, ...]:
        return tuple(judged for judged in self.requirements if not judged.passes)

    @property
    def people(self) -> set[str]:
        """Opaque ids of the people whom findings name."""
        return {str(judged.finding.facts["by"]) for judged in self.requirements if judged.finding.facts.get("by")}

    def to_json(self) -> dict[str, Any]:
        """The answer as the API gives it and as a decision records it."""
        return {
            "release": self.release,
            "environment": self.environment,
            "outcome": self.outcome,
            "passed": self.passed,
            "as_of": format_time(self.as_of),
            "size": self.size,
            "policy": {"revision": self.policy, "record": self.policy_record},
            "manifest_digest": self.manifest_digest,
            "requirements": [judged.to_json() for judged in self.requirements],
        }


def counts(requirements: Iterable[Judged]) -> dict[str, int]:
    """How many are in each state."""
    found: dict[str, int] = {}
    for judged in requirements:
        found[judged.state] = found.get(judged.state, 0) + 1
    return found


def _plain(value: Any) -> Any:
    return format_time(value) if isinstance(value, datetime) else value


def _time(moment: datetime | None) -> str | None:
    return format_time(moment) if moment is not None else None
