"""Releases of a period with their state (R1.10): approvals, deployment, validation, metrics on time or late."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.admin.utils import quote
from django.db.models import F, Q

from evidence import approvals, events
from evidence.events import BACKFILLED, Event
from evidence.models import Record, Release

#: The metrics snapshot is due this long after the deployment (R1.7).
METRICS_DUE = timedelta(hours=2)
KINDS = ("deploy.finished", "validation.result", "metrics.snapshot", "rollback")
#: What history lacks: nobody is late with it.
NOT_RECORDED = "not recorded"
_STALE = "stale"
#: History is part of the month in which it happened, whenever it was recorded.
_HISTORY = Q(at__gt=F("occurred") + BACKFILLED)


@dataclass(frozen=True)
class ReleaseLine:
    id: str
    tag: str
    system: str
    type: str
    state: str
    ticket: str
    captain: str
    #: Roles by what counts in them for the newest manifest; `stale` ones have decided about an earlier manifest only.
    approved: tuple[str, ...]
    rejected: tuple[str, ...]
    stale: tuple[str, ...]
    deployed_at: datetime | None
    deployed: str
    validation: str
    metrics: str
    rolled_back: bool

    @property
    def link(self) -> str:
        """The release in the admin, where its records are listed."""
        return f"/admin/evidence/release/{quote(self.id)}/change/"

    @property
    def is_late(self) -> bool:
        return self.metrics.startswith(("late", "overdue"))


def figures(*, start: datetime, end: datetime, systems: Sequence[str]) -> list[ReleaseLine]:
    """Releases that were opened in [start, end), or older ones with deployments in it, newest first."""
    known = Record.objects.counting().filter(Q(at__lt=end) | _HISTORY, occurred__lt=end).exclude(release=None)
    active = known.filter(kind__in=["release.opened", *KINDS], occurred__gte=start)
    found = Release.objects.in_systems(systems).filter(pk__in=active.values("release"))
    releases = list(found.select_related("system"))
    decisions = events.of_releases([release.pk for release in releases], kinds=["approval"])
    records: dict[str | None, list[Record]] = {}
    evidence = known.filter(kind__in=KINDS, release__in=[r.pk for r in releases])
    for record in evidence.order_by("index"):
        records.setdefault(record.release, []).append(record)
    return [_line(r, records.get(r.pk, []), decisions.get(r.pk, []), end) for r in releases]


def _line(release: Release, records: list[Record], decisions: list[Event], moment: datetime) -> ReleaseLine:
    production = [record for record in records if record.facts.get("environment") == "production"]
    deploys = [record for record in production if record.kind == "deploy.finished"]
    last = deploys[-1] if deploys else None
    decided = _decided(release, decisions, moment)
    return ReleaseLine(
        id=release.pk,
        tag=release.tag,
        system=release.system.name,
        type=release.type,
        state=release.state,
        ticket=release.ticket_id,
        captain=release.captain,
        approved=tuple(role for role, decision in decided.items() if decision == approvals.APPROVED),
        rejected=tuple(role for role, decision in decided.items() if decision == approvals.REJECTED),
        stale=tuple(role for role, decision in decided.items() if decision == _STALE),
        deployed_at=last.occurred if last else None,
        deployed=(last.outcome or "finished") if last else "not deployed",
        validation=_validation(production, last),
        metrics=_metrics(production, last, moment),
        rolled_back=any(record.kind == "rollback" for record in records),
    )


def _decided(release: Release, decisions: Sequence[Event], moment: datetime) -> dict[str, str]:
    """What counts in each role that has decided anything by then, as the gate judges it; by name."""
    received = [event for event in decisions if event.at < moment]
    found: dict[str, str] = {}
    for role in sorted({str(event.facts.get("role")) for event in received}):
        counting = approvals.decision(received, role, release.manifest_digest)
        if counting is not None:
            found[role] = str(counting.outcome)
        elif approvals.standing(approvals.in_role(received, role)):
            found[role] = _STALE
    return found


def _is_history(deploy: Record) -> bool:
    return deploy.at - deploy.occurred > BACKFILLED


def _validation(production: list[Record], deploy: Record | None) -> str:
    if deploy is None:
        return "–"
    found = [r for r in production if r.kind == "validation.result" and r.occurred >= deploy.occurred]
    if found:
        return found[-1].outcome or "recorded"
    return NOT_RECORDED if _is_history(deploy) else "missing"


def _metrics(production: list[Record], deploy: Record | None, moment: datetime) -> str:
    """On time only if it happened, and was received, within its time."""
    if deploy is None:
        return "–"
    due = deploy.occurred + METRICS_DUE
    found = [r for r in production if r.kind == "metrics.snapshot" and r.occurred >= deploy.occurred]
    if _is_history(deploy):
        return "backfilled" if found else NOT_RECORDED
    if not found:
        return "due" if moment < due else "overdue"
    received = found[0].at
    return "on time" if received <= due else f"late by {_hours(received - due)}"


def _hours(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
