"""What `exception.*` records change. Pure functions of the record and of these tables.

A record whose exception is not there belongs to one that was disposed of.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from config.bulk import compose
from evidence.ledger import Recorded
from evidence.projections import each, projection
from exceptions.models import ExceptionApproval, Renewal, SecurityException, Transition
from exceptions.models.terms import APPROVED, CLAIMED, REQUESTED


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


# -- exceptions --------------------------------------------------------------------------------------------------------


def _forget_exception(index: int) -> None:
    """All records of an exception are disposed of together; the first to go takes the rows with it."""
    SecurityException.objects.filter(transitions__index=index).delete()


def _exceptions(records: Sequence[Recorded]) -> Callable[[], None]:
    """Many of one kind, as an import brings them: two statements for all requests of a chunk."""
    if records[0].leaf.kind != "exception.requested":
        return functools.partial(each, _exception, records)
    found = [_requested(record) for record in records]
    for exception, record in zip(found, records, strict=True):
        exception.last_index = record.index
    composed = [compose(SecurityException, found), compose(Transition, map(_transition, found, records))]

    def write() -> None:
        for rows in composed:
            rows.write()

    return write


@projection(
    "exception.",
    tables=[SecurityException, Renewal, ExceptionApproval, Transition],
    forget=_forget_exception,
    many=_exceptions,
)
def _exception(record: Recorded) -> None:
    if record.leaf.kind == "exception.requested":
        exception = _requested(record)
    else:
        found = SecurityException.objects.filter(pk=record.body["exception"]).first()
        if found is None:
            return
        exception = found
        _CHANGES[record.leaf.kind](exception, record)
    exception.last_index = record.index
    exception.save()
    _follow(exception, record)


def _requested(record: Recorded) -> SecurityException:
    body = record.body
    expires_at, effective_from = _time(body["expires_at"]), _time(body["effective_from"])
    claim = body.get("imported")
    return SecurityException(
        id=body["exception"],
        title=body["title"],
        justification=body["justification"],
        severity=body["severity"],
        systems=list(record.leaf.scope),
        requirements=body["requirements"],
        releases=body.get("releases", []),
        risk_id=body.get("risk"),
        compensating_controls=body["compensating_controls"],
        decision=CLAIMED if claim and claim["status"] == "approved" else REQUESTED,
        requester=claim.get("requester", record.leaf.by) if claim else record.leaf.by,
        reference=claim.get("reference", "") if claim else "",
        claim=claim,
        imported_by=record.leaf.by if claim else "",
        owner=body["owner"],
        owner_name=body["owner_name"],
        approvals_needed=body["approvals_needed"],
        requested_at=record.leaf.at,
        requested_index=record.index,
        effective_from=effective_from,
        term_from=effective_from,
        expires_at=expires_at,
        original_expires_at=expires_at,
    )


def _approved(exception: SecurityException, record: Recorded) -> None:
    _add_approval(exception, None, record)
    if exception.approvals.filter(renewal=None, standing=True).count() >= exception.approvals_needed:
        exception.decision, exception.approved_at = APPROVED, record.leaf.at


def _add_approval(exception: SecurityException, renewal: Renewal | None, record: Recorded) -> None:
    ExceptionApproval.objects.create(
        index=record.index,
        exception=exception,
        renewal=renewal,
        person=record.leaf.by,
        role=record.body["role"],
        terms=record.body.get("terms", ""),
        at=record.leaf.at,
    )


_AMENDED = {"title", "justification", "severity", "requirements", "releases", "compensating_controls"} | {
    "owner",
    "owner_name",
}


def _amended(exception: SecurityException, record: Recorded) -> None:
    changes = record.body["changes"]
    for name in _AMENDED & changes.keys():
        setattr(exception, name, changes[name])
    if "risk" in changes:
        exception.risk_id = changes["risk"]
    exception.systems = list(record.leaf.scope)
    exception.approvals.update(standing=False)
    exception.approvals_needed = record.body["approvals_needed"]
    exception.decision, exception.approved_at = REQUESTED, None


def _ending(decision: str) -> Callable[[SecurityException, Recorded], None]:
    def end(exception: SecurityException, record: Recorded) -> None:
        exception.decision, exception.closed_at = decision, record.leaf.at
        _decide_renewal(exception, record, Renewal.DROPPED)

    return end


def _superseded(exception: SecurityException, record: Recorded) -> None:
    _ending("superseded")(exception, record)
    exception.superseded_by = record.body["by"]


def _decide_renewal(exception: SecurityException, record: Recorded, state: str) -> None:
    exception.renewal_pending = False
    exception.renewals.filter(state=Renewal.PENDING).update(
        state=state, decided_at=record.leaf.at, decided_index=record.index
    )


def _renewal_requested(exception: SecurityException, record: Recorded) -> None:
    exception.renewal_pending = True
    Renewal.objects.create(
        index=record.index,
        exception=exception,
        previous_expires_at=_time(record.body["previous_expires_at"]),
        expires_at=_time(record.body["expires_at"]),
        reason=record.body["reason"],
        requested_by=record.leaf.by,
        requested_at=record.leaf.at,
        approvals_needed=record.body["approvals_needed"],
    )


def _renewed(exception: SecurityException, record: Recorded) -> None:
    renewal = exception.renewals.get(index=record.body["renewal"])
    _add_approval(exception, renewal, record)
    if renewal.approvals.count() < renewal.approvals_needed:
        return
    exception.term_from = renewal.term_from
    exception.expires_at = renewal.expires_at
    exception.renewals_made += 1
    _decide_renewal(exception, record, Renewal.RENEWED)


def _renewal_refused(exception: SecurityException, record: Recorded) -> None:
    _decide_renewal(exception, record, Renewal.REFUSED)


def _nothing(exception: SecurityException, record: Recorded) -> None:
    """A reminder, or an attempt, changes nothing; it stands in the timeline."""


_CHANGES: dict[str, Callable[[SecurityException, Recorded], None]] = {
    "exception.approved": _approved,
    "exception.rejected": _ending("rejected"),
    "exception.withdrawn": _ending("withdrawn"),
    "exception.revoked": _ending("revoked"),
    "exception.remediated": _ending("remediated"),
    "exception.superseded": _superseded,
    "exception.amended": _amended,
    "exception.renewal_requested": _renewal_requested,
    "exception.renewed": _renewed,
    "exception.renewal_refused": _renewal_refused,
    "exception.reminded": _nothing,
    "exception.notified": _nothing,
    "exception.self_approval_refused": _nothing,
}


def _follow(exception: SecurityException, record: Recorded) -> None:
    """Close the transition before and open this one."""
    exception.transitions.filter(until=None).update(until=record.leaf.at)
    _transition(exception, record).save(force_insert=True)


def _transition(exception: SecurityException, record: Recorded) -> Transition:
    return Transition(
        index=record.index,
        exception=exception,
        kind=record.leaf.kind,
        at=record.leaf.at,
        by=record.leaf.by,
        reason=_reason(record),
        decision=exception.decision,
        severity=exception.severity,
        systems=exception.systems,
        requirements=exception.requirements,
        releases=exception.releases,
        effective_from=exception.effective_from,
        expires_at=exception.expires_at,
    )


def _reason(record: Recorded) -> str:
    body = record.body
    if record.leaf.kind == "exception.requested":
        return str(body["justification"])
    if record.leaf.kind == "exception.reminded":
        days = body["threshold"]
        when = f"{-days} days overdue" if days < 0 else f"{days} days before"
        return f"Reminder by {body['channel']}{with_others(body)}, {when}: {body['outcome']}"
    if record.leaf.kind == "exception.notified":
        asked = "Asked to decide" if body["asked"] else "Told"
        return f"{asked} by {body['channel']}{with_others(body)} about record {body['about']}: {body['outcome']}"
    if record.leaf.kind == "exception.self_approval_refused":
        return "Refused: who requested, wrote or owns it does not approve it"
    return str(body["reason"])


def with_others(body: Mapping[str, Any]) -> str:
    """Of a message that told of several things."""
    return f" with {body['digest'] - 1} more" if "digest" in body else ""
