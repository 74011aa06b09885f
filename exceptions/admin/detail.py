"""What the page of one exception shows, in the words and colours of the page."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from config.errors import ProoftrailError
from evidence import gate
from evidence.admin.forms import person
from evidence.checklist import record_named
from evidence.gate import policy as gate_policy
from evidence.ledger import reader
from evidence.models import Release, System
from evidence.people import display_names
from exceptions import policy, risk_links, rules
from exceptions.admin.filters import reach
from exceptions.admin.shown import LEFT_TONES, SEVERITY_TONES, TONES, left, state_word, timeline, url
from exceptions.admin.verbs import shown_to
from exceptions.frozen import terms_digest
from exceptions.models import SecurityException, Transition
from exceptions.models.terms import CHASED
from exceptions.upcoming import next_step

#: Open releases whose gates are asked, the newest; and records of the timeline, the newest.
_RELEASES, _RECORDS = 5, 200
_RECIPIENTS = {"owner": "owner", "requester": "requester", "manager": "owner’s manager", "executives": "executives"}


def context(request: HttpRequest, found: SecurityException) -> dict[str, Any]:
    """Everything on the page."""
    now, word = timezone.now(), state_word(found)
    names = dict(System.objects.filter(pk__in=found.systems).values_list("pk", "name"))
    records = list(found.transitions.order_by("-index")[: _RECORDS + 1])
    time = left(found, now)
    return {
        "exception": found,
        "state": word,
        "tone": TONES[word],
        "severity_tone": SEVERITY_TONES[found.get_severity_display()],
        "left": time[1] if time else "",
        "left_tone": LEFT_TONES[time[0]] if time else "",
        "verbs": [(verb, url(found, verb.name)) for verb in shown_to(found, request)],
        "waits_for": _waits_for(request, found),
        "needs_executive": rules.needs_executive(found),
        "requester": display_names([found.requester])[found.requester],
        "systems": sorted(names.get(pk, pk) for pk in found.systems),
        "approvals": _approvals(found),
        "renewals": found.renewals.order_by("-index"),
        "shown_by": _shown_by(found, records),
        "controls": [_control(control) for control in found.compensating_controls],
        "risks": list(risk_links.risks_of(found, reach(request)).order_by("pk")),
        "waivers": _waivers(request, found, names, now),
        "reminder": _reminder(found, now),
        "digest": terms_digest(found),
        "next": SecurityException.objects.seen_by(person(request)).filter(pk=found.superseded_by).first(),
        "timeline": timeline(records[:_RECORDS]),
        "timeline_cut": len(records) > _RECORDS,
    }


def _waits_for(request: HttpRequest, found: SecurityException) -> str:
    """What somebody who may not decide wants to know: who may."""
    me = person(request)
    if found.decision not in {"requested", "claimed"} and not found.renewal_pending:
        return ""
    if me.uid in {found.requester, found.owner, found.imported_by}:
        return "It waits for a decision by approvers, liaisons or executives other than requester and owner."
    return ""


def _approvals(found: SecurityException) -> dict[str, Any]:
    """Those that count for the present terms, and for the renewal that waits."""
    given = list(found.approvals.filter(standing=True).select_related("renewal").order_by("index"))
    names = display_names(one.person for one in given)
    own = [(one, names[one.person]) for one in given if one.renewal_id is None]
    again = [(one, names[one.person]) for one in given if one.renewal is not None and one.renewal.state == "pending"]
    return {"own": own, "again": again, "pending": found.pending_renewal}


def _shown_by(found: SecurityException, records: Iterable[Transition]) -> list[int]:
    """Records that its remediation names as evidence."""
    if found.decision != "remediated":
        return []
    last = next((record.index for record in records if record.kind == "exception.remediated"), None)
    named: list[int] = reader.get(last).recorded.body.get("evidence", []) if last is not None else []
    return named


def _control(control: dict[str, str]) -> dict[str, Any]:
    """A compensating control; evidence that names a record leads to it."""
    evidence = control.get("evidence", "")
    return {"title": control["title"], "evidence": evidence, "record": record_named(evidence)}


# -- gates -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Waived:
    """A requirement at the gate of a system: `note` says why naming it waives nothing."""

    name: str
    title: str
    note: str


def _waivers(
    request: HttpRequest, found: SecurityException, names: dict[str, str], now: datetime
) -> dict[str, Any] | None:
    """What it waives now: requirements by system, and what the gates of open releases say of them."""
    if not found.requirements:
        return None
    active = found.state(now) == "active"
    systems = [(names.get(pk, pk), list(_named(found.requirements, names.get(pk, pk)))) for pk in found.systems]
    return {"active": active, "systems": systems, "gates": list(_gates(request, found)) if active else []}


def _named(requirements: Iterable[str], system: str) -> Iterator[Waived]:
    try:
        known = {one.name: one for one in gate_policy.load().requirements(system)}
    except ProoftrailError as error:
        known, trouble = {}, error.detail
    else:
        trouble = "The gate of this system has no requirement of this name."
    for name in requirements:
        one = known.get(name)
        if one is None:
            yield Waived(name, "", trouble)
        else:
            yield Waived(name, one.title, "" if one.waivable else "The policy lets nothing waive this one.")


def _gates(request: HttpRequest, found: SecurityException) -> Iterator[dict[str, Any]]:
    seen = Release.objects.in_systems(reach(request)).filter(system__in=found.systems, state="open")
    for release in seen.select_related("system").order_by("-opened_by")[:_RELEASES]:
        link = f"{reverse('admin:evidence_release_change', args=[quote(release.pk)])}#gate"
        try:
            answer = gate.ask(release=release, environment="production")
        except ProoftrailError as error:
            yield {"release": release, "url": link, "outcome": "unknown", "tone": "warning", "rows": [], "note": error}
            continue
        concerned = [judged for judged in answer.requirements if judged.requirement.name in found.requirements]
        rows = [{"title": judged.requirement.title, "words": _words(judged, found)} for judged in concerned]
        tone = "success" if answer.passed else "danger"
        yield {"release": release, "url": link, "outcome": answer.outcome, "tone": tone, "rows": rows, "note": ""}


def _words(judged: Any, found: SecurityException) -> str:
    """What the gate says of one requirement, as far as this exception matters to it."""
    if judged.waiver is not None and judged.waiver.exception == found.pk:
        return f"waived by this exception: {judged.finding.detail}"
    if judged.waiver is not None:
        return f"waived by {judged.waiver.exception}, which lasts longer"
    if judged.finding.passes:
        return "met without a waiver"
    return f"not waived: {judged.finding.detail}"


# -- reminders ---------------------------------------------------------------------------------------------------------


def _reminder(found: SecurityException, now: datetime) -> dict[str, Any] | None:
    """When the next one goes out, and to whom; None where nobody is reminded any more."""
    if found.decision not in CHASED:
        return None
    schedule = policy.load().reminders
    step = next_step(schedule, term_from=found.term_from, expires_at=found.expires_at, now=now)
    if step is None:
        return None
    moment, coming = step
    return {"at": moment, "to": ", ".join(_RECIPIENTS.get(name, name) for name in coming.to)}
