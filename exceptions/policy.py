"""The rules in force as data: ``policies/exceptions.yaml``, members overridden by a company's own file."""

import functools
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import yaml

from evidence.kinds import yaml_files


@dataclass(frozen=True)
class Overdue:
    """A step after the expiry."""

    days: int
    to: tuple[str, ...]


@dataclass(frozen=True)
class Schedule:
    """When reminders go out, and to whom; recipients are ``owner``, ``requester``, ``manager``, ``executives``."""

    before_days: tuple[int, ...]
    before_to: tuple[str, ...]
    overdue: tuple[Overdue, ...]
    repeat_days: int
    retry_minutes: tuple[int, ...]


@dataclass(frozen=True)
class Policy:
    longest_term: dict[str, timedelta]
    approvals_needed: dict[str, int]
    renewals_without_executive: int
    backdating: timedelta
    expiring: timedelta
    remediation_needs_evidence: frozenset[str]
    reminders: Schedule


def parse(source: dict[str, Any]) -> Policy:
    reminders = source["reminders"]
    return Policy(
        longest_term={severity: timedelta(days=days) for severity, days in source["longest_term_days"].items()},
        approvals_needed=source["approvals_needed"],
        renewals_without_executive=source["renewals_without_executive"],
        backdating=timedelta(days=source["backdating_days"]),
        expiring=timedelta(days=source["expiring_days"]),
        remediation_needs_evidence=frozenset(source["remediation_needs_evidence"]),
        reminders=Schedule(
            before_days=tuple(sorted(reminders["before"]["days"], reverse=True)),
            before_to=tuple(reminders["before"]["to"]),
            overdue=tuple(Overdue(step["days"], tuple(step["to"])) for step in reminders["overdue"]),
            repeat_days=reminders["repeat_days"],
            retry_minutes=tuple(reminders["retry_minutes"]),
        ),
    )


@functools.cache
def load() -> Policy:
    """The policy of this installation. Read once for each process."""
    source: dict[str, Any] = {}
    for path in yaml_files("policies"):
        if path.name == "exceptions.yaml":
            source |= yaml.safe_load(path.read_text())
    return parse(source)
