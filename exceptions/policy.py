"""The rules in force as data: ``policies/exceptions.yaml``, members overridden by a company's own file.

A file that is wrong is refused as it is read, with its line and member (`policy.json` says what one may hold).
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema_rs

from config.errors import InvalidError
from evidence.kinds import yaml_files
from evidence.kinds.source import Document, Fault, read
from evidence.tlog.canonical import parse_strict

REPEATS = "repeats"
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


@dataclass(frozen=True)
class Overdue:
    """A step after the expiry."""

    days: int
    to: tuple[str, ...]


@dataclass(frozen=True)
class Digest:
    """Whom many exceptions chase hears of some steps once a week. `steps` are thresholds, and perhaps REPEATS."""

    weekday: int
    above: int
    steps: frozenset[int | str]

    def holds(self, threshold: int, *, repeated: bool, now: datetime) -> bool:
        """Whether this step may wait for the weekday, which is one in UTC."""
        other_day = now.astimezone(UTC).weekday() != self.weekday
        return other_day and (REPEATS if repeated else threshold) in self.steps


@dataclass(frozen=True)
class Schedule:
    """When reminders go out, and to whom; recipients are ``owner``, ``requester``, ``manager``, ``executives``."""

    before_days: tuple[int, ...]
    before_to: tuple[str, ...]
    overdue: tuple[Overdue, ...]
    repeat_days: int
    retries: tuple[timedelta, ...]
    digest: Digest
    #: Posts of its own that a chat channel gets in one round; beyond, what waits comes in one.
    chat_posts: int


@dataclass(frozen=True)
class Policy:
    longest_term: dict[str, timedelta]
    #: Of what an executive is among the approvers of; nothing lasts longer that is asked for here.
    longest_with_executive: dict[str, timedelta]
    approvals_needed: dict[str, int]
    renewals_without_executive: dict[str, int]
    backdating: timedelta
    expiring: timedelta
    remediation_needs_evidence: frozenset[str]
    reminders: Schedule


def parse(source: Mapping[str, Any]) -> Policy:
    """The policy that a complete document states."""
    return Policy(
        longest_term=_terms(source["longest_term_days"]),
        longest_with_executive=_terms(source["longest_with_executive_days"]),
        approvals_needed=source["approvals_needed"],
        renewals_without_executive=source["renewals_without_executive"],
        backdating=timedelta(days=source["backdating_days"]),
        expiring=timedelta(days=source["expiring_days"]),
        remediation_needs_evidence=frozenset(source["remediation_needs_evidence"]),
        reminders=_schedule(source["reminders"]),
    )


def _terms(days: Mapping[str, int]) -> dict[str, timedelta]:
    return {severity: timedelta(days=count) for severity, count in days.items()}


def _schedule(source: Mapping[str, Any]) -> Schedule:
    digest = source["digest"]
    return Schedule(
        before_days=tuple(sorted(source["before"]["days"], reverse=True)),
        before_to=tuple(source["before"]["to"]),
        overdue=tuple(Overdue(step["days"], tuple(step["to"])) for step in source["overdue"]),
        repeat_days=source["repeat_days"],
        retries=tuple(timedelta(minutes=minutes) for minutes in source["retry_minutes"]),
        digest=Digest(_WEEKDAYS.index(digest["weekday"]), digest["above"], frozenset(digest["steps"])),
        chat_posts=source["chat_posts"],
    )


@functools.cache
def load() -> Policy:
    """The policy of this installation. Read once for each process. Raises InvalidError ``policy_invalid``."""
    found = parse(assemble(path for path in yaml_files("policies") if path.name == "exceptions.yaml"))
    _require_order(found)
    return found


def _require_order(found: Policy) -> None:
    """An executive allows more, not less. Asked of the whole: a company may override one of the two alone."""
    for severity, longest in found.longest_term.items():
        most = found.longest_with_executive[severity]
        if most < longest:
            raise InvalidError(
                f"policies/exceptions.yaml: longest_with_executive_days.{severity}: {most.days} is less than the "
                f"{longest.days} of longest_term_days.{severity}",
                code="policy_invalid",
            )


def assemble(paths: Iterable[Path]) -> dict[str, Any]:
    """One document out of the files, later ones over earlier ones; of `reminders`, its members one by one."""
    source: dict[str, Any] = {"reminders": {}}
    for path in paths:
        for document in _sound(path):
            reminders = source["reminders"] | document.get("reminders", {})
            source |= {**document, "reminders": reminders}
    return source


def _sound(path: Path) -> list[dict[str, Any]]:
    documents, faults = read(path)
    faults += [fault for document in documents for fault in _faults_of(document)]
    if faults:
        raise InvalidError("; ".join(map(str, faults[:5])), code="policy_invalid")
    return [document.value for document in documents]


def _faults_of(document: Document) -> list[Fault]:
    found = []
    for error in _rules().iter_errors(document.value):
        member = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
        found.append(document.fault(error.instance_path, f"{member.lstrip('.') or 'the file'}: {error.message[:300]}"))
    return found or _twice(document)


def _twice(document: Document) -> list[Fault]:
    """Steps after the expiry are told apart by their day."""
    seen: set[int] = set()
    found = []
    for place, step in enumerate(document.value.get("reminders", {}).get("overdue", [])):
        if step["days"] in seen:
            message = f"reminders.overdue[{place}].days: there is a step of {step['days']} days already"
            found.append(document.fault(("reminders", "overdue", place, "days"), message))
        seen.add(step["days"])
    return found


@functools.cache
def _rules() -> Any:
    rules = parse_strict(Path(__file__).with_name("policy.json").read_bytes())
    return jsonschema_rs.Draft202012Validator(rules)
