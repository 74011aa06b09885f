"""What the page of a release shows, in the words and colours of the page."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.urls import reverse

from evidence import manifests
from evidence.admin.forms import person
from evidence.admin.release_plans import may_plan
from evidence.admin.release_steps import may_end, may_work
from evidence.checklist import Item, record_named
from evidence.deploys import Deployment, Retrospective
from evidence.gate import gate_summary
from evidence.models import Release, SignOff, SignOffRequest, User
from evidence.people import display_names
from evidence.planned import Line, Step
from evidence.readiness import Readiness, readiness
from evidence.sign_offs import Role

TONES = {
    "present": "success",
    "done": "success",
    "approved": "success",
    "succeeded": "success",
    "given": "success",
    "met": "success",
    "green": "success",
    "late": "warning",
    "backfilled": "warning",
    "stale": "warning",
    "excused": "info",
    "waived": "warning",
    "running": "info",
    "failed": "danger",
    "missing": "danger",
    "rejected": "danger",
    "overdue": "danger",
    "unmet": "danger",
    "red": "danger",
    "open": "danger",
}


def url(release: Release, more: str = "change", *args: Any) -> str:
    name = "evidence_release_change" if more == "change" else f"evidence_release_{more}"
    return reverse(f"admin:{name}", args=[quote(release.pk), *args])


def context(request: HttpRequest, release: Release) -> dict[str, Any]:
    """Everything above the timeline."""
    state = readiness(release)
    works = may_work(request, release)
    return {
        "state": state,
        "lines": [_line(line) for line in state.lines],
        "cutover": [_step(release, number, step, works) for number, step in enumerate(state.cutover)],
        "sections": _sections(release, state, works),
        "roles": _roles(request, release, state.roles),
        "runs": _runs(request, release, state),
        "difference": manifests.difference(release),
        "gate": _gate(release),
        "works": works,
        "plans": may_plan(request, release),
        "signs": release.state == "open" and bool(release.manifest_digest) and bool(roles_of(person(request), release)),
        "ends": may_end(request, release),
        "urls": {name: url(release, name) for name in ("approve", "notice", "hotfix", "plan", "close", "cancel")},
    }


def _tone(state: str) -> str:
    return TONES.get(state, "neutral")


def _line(line: Line) -> dict[str, Any]:
    return {"line": line, "tone": _tone(line.state), "record": line.records[0] if line.records else None}


def _step(release: Release, number: int, step: Step, works: bool) -> dict[str, Any]:
    verb = "" if step.finished else "Finish" if step.started else "Start"
    return {
        "step": step,
        "tone": "warning" if step.late else _tone(step.state),
        "planned": _span(step.planned_from, step.planned_to),
        "actual": _span(step.started, step.finished),
        "verb": verb if works else "",
        "url": url(release, "cutover", number),
    }


class Span(NamedTuple):
    """``14:30–14:40`` and the day, or both days where they differ."""

    times: str
    day: str

    def __str__(self) -> str:
        return f"{self.day} {self.times}".strip()


def _span(start: datetime | None, end: datetime | None) -> Span:
    known = [moment for moment in (start, end) if moment]
    days = dict.fromkeys(f"{moment:%-d %b}" for moment in known)
    times = f"{start:%H:%M}–" if start else "until " if end else ""
    return Span(times + (f"{end:%H:%M}" if end else ""), "–".join(days))


def _sections(release: Release, state: Readiness, works: bool) -> list[dict[str, Any]]:
    names = display_names(item.by for item in state.checklist.items if item.by)
    first = next((section.id for section in state.checklist.sections if section.open), None)
    return [
        {
            "section": section,
            "first_open": section.id == first,
            "done": len(section.items) - len(section.open),
            "items": [_item(release, item, names, works) for item in section.items],
        }
        for section in state.checklist.sections
    ]


def _item(release: Release, item: Item, names: dict[str, str], works: bool) -> dict[str, Any]:
    return {
        "item": item,
        "tone": _tone(item.state),
        "who": names.get(item.by, ""),
        "named": record_named(item.evidence),
        "is_link": item.evidence.startswith(("https://", "http://")),
        "url": url(release, "checklist", item.id) if works else "",
    }


def _roles(request: HttpRequest, release: Release, roles: Iterable[Role]) -> list[dict[str, Any]]:
    """The required roles, with a button where the one who looks signs for it and has not yet."""
    roles = list(roles)
    me = person(request)
    mine = roles_of(me, release)
    names = display_names(role.decision.person for role in roles if role.decision)
    asked = SignOffRequest.objects.filter(release=release.pk, manifest_digest=release.manifest_digest)
    mailed = set(asked.filter(state="delivered").values_list("recipient", flat=True))
    can = release.state == "open" and bool(release.manifest_digest)
    return [
        {
            "role": role,
            "tone": _tone(role.state),
            "who": names[role.decision.person] if role.decision else "",
            "people": ", ".join(user.name for user in role.people),
            "mailed": any(user.uid in mailed for user in role.people),
            "mine": can and role.role in mine,
            "url": f"{url(release, 'approve')}?role={role.role}",
        }
        for role in roles
    ]


def roles_of(user: User, release: Release) -> list[str]:
    """Roles in which somebody may sign off releases of this system."""
    found = SignOff.objects.filter(user=user, system=release.system_id).order_by("role")
    return list(found.values_list("role", flat=True))


def _runs(request: HttpRequest, release: Release, state: Readiness) -> list[dict[str, Any]]:
    """Deployments, the newest first, with what was wrong and what is owed."""
    owed: dict[int, list[Retrospective]] = {}
    for run, each in state.retrospectives:
        owed.setdefault(run.index, []).append(each)
    mine = roles_of(person(request), release) if owed and release.state == "open" else []
    decide = f"{url(release, 'approve')}?role={{role}}&manifest={{digest}}"
    return [_run(state, run, owed.get(run.index, []), mine, decide) for run in reversed(state.deployments)]


def _run(state: Readiness, run: Deployment, owed: list[Retrospective], mine: list[str], decide: str) -> dict[str, Any]:
    return {
        "run": run,
        "tone": _tone(run.outcome),
        "when": _span(run.started.occurred if run.started else None, run.finished.occurred if run.finished else None),
        "failures": [failure for failure in state.failures if failure.deployment.index == run.index],
        "owed": [_owed(each, run, mine, decide) for each in owed],
    }


def _owed(each: Retrospective, run: Deployment, mine: list[str], decide: str) -> dict[str, Any]:
    """What a deploy owes, with the way to the decision for whoever signs in that role."""
    waits = each.state in {"due", "overdue"} and each.role in mine
    to = decide.format(role=each.role, digest=run.digest) if waits else ""
    return {"each": each, "tone": _tone(each.state), "url": to}


def _gate(release: Release) -> dict[str, Any] | None:
    found = gate_summary(release)
    if found is None:
        return None
    rows = [{**row, "tone": _tone(row["state"])} for row in found["requirements"]]
    return {"outcome": found["outcome"], "tone": _tone(found["outcome"]), "requirements": rows}
