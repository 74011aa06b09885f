"""What `risk.*` records change. Pure functions of the record and of these tables.

A record whose risk is not there belongs to one that was disposed of.
"""

import functools
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from config.bulk import compose
from evidence.ledger import Recorded
from evidence.projections import each, projection
from exceptions.models import Risk, RiskChange
from exceptions.projections import with_others

#: Members that are columns of the same name, in any version of the kinds; what a version lacks keeps its default.
_PLAIN = (
    *("reference", "title", "description", "cause", "consequence", "likelihood", "impact", "residual_likelihood"),
    *("residual_impact", "mitigation", "contingency", "owner", "owner_name", "status", "action_items"),
)
_LINKS = {"exceptions": "linked_exceptions", "incidents": "incidents", "controls": "controls"}


def _forget_risk(index: int) -> None:
    """All records of a risk are disposed of together; the first to go takes the rows with it."""
    Risk.objects.filter(changes__index=index).delete()


def _risks(records: Sequence[Recorded]) -> Callable[[], None]:
    """Many of one kind, as an import brings them: two statements for all new ones of a chunk."""
    if records[0].leaf.kind != "risk.added":
        return functools.partial(each, _risk, records)
    composed = [compose(Risk, map(_added, records)), compose(RiskChange, map(_change, records))]

    def write() -> None:
        for rows in composed:
            rows.write()

    return write


@projection("risk.", tables=[Risk, RiskChange], forget=_forget_risk, many=_risks)
def _risk(record: Recorded) -> None:
    body, kind = record.body, record.leaf.kind
    if kind == "risk.import_started":
        return
    if kind == "risk.added":
        risk = _added(record)
    else:
        found = Risk.objects.filter(pk=body["risk"]).first()
        if found is None:
            return
        risk = found
    if kind == "risk.changed":
        _take(risk, body["changes"])
        if "systems" in body["changes"]:
            risk.systems = list(record.leaf.scope)
    elif kind == "risk.reviewed":
        risk.reviewed_at, risk.reviewed_by = record.leaf.at, record.leaf.by
        risk.review_by = date.fromisoformat(body["review_by"])
    elif kind == "risk.closed":
        risk.status, risk.closed_at = Risk.CLOSED, record.leaf.at
    risk.last_index = record.index
    risk.save()
    _change(record).save(force_insert=True)


def _added(record: Recorded) -> Risk:
    found = Risk(
        id=record.body["risk"],
        systems=list(record.leaf.scope),
        added_by=record.leaf.by,
        added_at=record.leaf.at,
        added_index=record.index,
        last_index=record.index,
    )
    _take(found, record.body)
    return found


def _take(risk: Risk, said: dict[str, Any]) -> None:
    """The members that a record names; the others stay as they were."""
    for name in _PLAIN:
        if name in said:
            setattr(risk, name, said[name])
    for name, numbers in said.get("links", {}).items():
        setattr(risk, _LINKS[name], numbers)
    if "review_by" in said:
        risk.review_by = date.fromisoformat(said["review_by"])


def _change(record: Recorded) -> RiskChange:
    return RiskChange(
        index=record.index,
        risk_id=record.body["risk"],
        kind=record.leaf.kind,
        at=record.leaf.at,
        by=record.leaf.by,
        reason=_reason(record),
    )


def _reason(record: Recorded) -> str:
    body = record.body
    if record.leaf.kind == "risk.reminded":
        about = f"{with_others(body)} of the review due {body['review_by']}"
        return f"Reminder by {body['channel']}{about}: {body['outcome']}"
    if record.leaf.kind == "risk.added" and "import" in body:
        return f"Imported from {body['place']}"
    return str(body.get("reason", ""))
