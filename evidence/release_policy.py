"""What a release needs, as data: ``policies/releases.yaml`` and ``policies/checklist.yaml``, each overridable."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import yaml

from evidence.checklist import ChecklistSection, parse_sections
from evidence.gate import policy as gate_policy
from evidence.kinds import yaml_files


@dataclass(frozen=True)
class Expected:
    """One kind of evidence that every release has, with its clock."""

    id: str
    title: str
    kind: str
    anchor: str
    before: bool = False
    within: timedelta | None = None
    environment: str | None = None
    audience: str | None = None
    outcome: str | None = None


@dataclass(frozen=True)
class Step:
    """A step of the cutover as the policy plans it, relative to the beginning of the window."""

    step: str
    at: timedelta
    length: timedelta
    owner: str = ""
    deploy: str | None = None


@dataclass(frozen=True)
class Response:
    """A row of the rollback decision matrix (R1.8)."""

    severity: int
    title: str
    actions: tuple[str, ...]
    within: timedelta
    owner: str


@dataclass(frozen=True)
class Policy:
    retrospective: timedelta
    expected: tuple[Expected, ...]
    cutover: tuple[Step, ...]
    cutover_tolerance: timedelta
    incident_updates: timedelta
    rollbacks: Mapping[int, Response]
    inventory_tolerance: timedelta
    mail_retries: tuple[timedelta, ...]

    def roles(self, system: str) -> tuple[str, ...]:
        """The roles whose sign-off a release of this system (by name) needs: the gate's policy says which."""
        return gate_policy.load().roles(system)


ANCHORS = ("window-from", "window-to", "staging-finished", "production-started", "production-finished")


def parse(source: Mapping[str, Any]) -> Policy:
    """A policy from its YAML. Raises KeyError, TypeError or ValueError where it is not one."""
    return Policy(
        retrospective=_minutes(source["retrospective_minutes"]),
        expected=tuple(_expected(each) for each in source["expected"]),
        cutover=tuple(_step(each) for each in source["cutover"]),
        cutover_tolerance=_minutes(source["cutover_tolerance"]),
        incident_updates=_minutes(source["incident_update_minutes"]),
        rollbacks={int(severity): _response(severity, row) for severity, row in source["rollbacks"].items()},
        inventory_tolerance=_minutes(source["inventory_tolerance"]),
        mail_retries=tuple(map(_minutes, source["mail_retry_minutes"])),
    )


def _minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def _expected(source: Mapping[str, Any]) -> Expected:
    if source["anchor"] not in ANCHORS:
        raise ValueError(f"expected {source['id']}: there is no anchor {source['anchor']!r}, only {', '.join(ANCHORS)}")
    within = source.get("within")
    return Expected(**{**source, "within": None if within is None else _minutes(within)})


def _step(source: Mapping[str, Any]) -> Step:
    return Step(
        source["step"],
        _minutes(source["at"]),
        _minutes(source["minutes"]),
        source.get("owner", ""),
        source.get("deploy"),
    )


def _response(severity: int, row: Mapping[str, Any]) -> Response:
    return Response(int(severity), row["title"], tuple(row["action"]), _minutes(row["within"]), row["owner"])


def parse_checklist(source: Mapping[str, Any], system: str) -> tuple[ChecklistSection, ...]:
    return parse_sections((source.get("systems") or {}).get(system) or source["sections"])


@functools.cache
def load() -> Policy:
    """The policy of this installation. Read once for each process."""
    return parse(_source("releases.yaml"))


@functools.cache
def checklist(system: str) -> tuple[ChecklistSection, ...]:
    """The checklist of a system (by name)."""
    return parse_checklist(_source("checklist.yaml"), system)


def _source(name: str) -> dict[str, Any]:
    """The members of every file of that name, a company's own over the built-in ones."""
    found: dict[str, Any] = {}
    for path in yaml_files("policies"):
        if path.name == name:
            found |= yaml.safe_load(path.read_text()) or {}
    return found
