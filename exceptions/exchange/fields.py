"""The columns of a register in a file, and what stands in them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evidence.models import System, User
from exceptions import risk_links, risk_policy
from exceptions.models import Risk, SecurityException

#: Read and written, in the order of the columns, with their headings.
HEADINGS = {
    "number": "Number",
    "reference": "Reference",
    "title": "Title",
    "description": "Description",
    "cause": "Cause",
    "consequence": "Impact in words",
    "likelihood": "Likelihood",
    "impact": "Impact",
    "residual_likelihood": "Likelihood after",
    "residual_impact": "Impact after",
    "mitigation": "Mitigation",
    "contingency": "Contingency",
    "owner": "Owner",
    "status": "Status",
    "systems": "Systems",
    "review_by": "Next review",
    "exceptions": "Exceptions",
    "incidents": "Incidents",
    "controls": "Controls",
    "action_items": "Action items",
}
#: Written for the reader's sake; computed again when it is read.
DERIVED = {
    "rating": "Rating",
    "level": "Level",
    "residual_rating": "Rating after",
    "residual_level": "Level after",
    "added_on": "Added on",
    "reviewed_on": "Reviewed on",
    "closed_on": "Closed on",
}
FIELDS = tuple(HEADINGS)
ALL = HEADINGS | DERIVED
LISTS = ("systems", "exceptions", "incidents", "controls")
STEPS = ("likelihood", "impact", "residual_likelihood", "residual_impact")
#: Between the parts of an action item in a cell.
BAR = " | "

Value = str | int | list[Any] | None


@dataclass(frozen=True)
class Names:
    """What stands for opaque ids in a file; four queries for a whole register."""

    #: Mail addresses of people, their names where there is no address.
    people: Mapping[str, str]
    systems: Mapping[str, str]
    #: What the reader may see of what risks point to.
    exceptions: frozenset[str]
    incidents: frozenset[str]

    @classmethod
    def of(cls, risks: Sequence[Risk], visible: Sequence[str] | None) -> "Names":
        owners = {uid for risk in risks for uid in (risk.owner, *(item["owner"] for item in risk.action_items))}
        linked = {number for risk in risks for number in risk.linked_exceptions}
        seen = SecurityException.objects.in_systems(visible).filter(pk__in=linked) if linked else []
        incidents = {name for risk in risks for name in risk.incidents}
        return cls(
            people=dict(User.objects.filter(uid__in=owners).values_list("uid", "email")),
            systems=dict(System.objects.values_list("pk", "name")),
            exceptions=frozenset(linked if visible is None else (found.pk for found in seen)),
            incidents=frozenset(incidents if visible is None else risk_links.incident_records(incidents, visible)),
        )


def values(risk: Risk, names: Names) -> dict[str, Value]:
    """What a file says of a risk, field by field."""
    scale = risk_policy.load()
    after = risk.residual_rating
    plain = ("title", "description", "cause", "consequence", "mitigation", "contingency", "reference", "status")
    return {name: getattr(risk, name) for name in (*plain, *STEPS)} | {
        "number": risk.pk,
        "owner": names.people.get(risk.owner, risk.owner_name),
        "systems": sorted(names.systems.get(pk, pk) for pk in risk.systems),
        "review_by": risk.review_by.isoformat() if risk.review_by else None,
        "exceptions": [number for number in risk.linked_exceptions if number in names.exceptions],
        "incidents": [name for name in risk.incidents if name in names.incidents],
        "controls": list(risk.controls),
        "action_items": [_item(item, names) for item in risk.action_items],
        "rating": risk.rating,
        "level": scale.level(risk.rating),
        "residual_rating": after,
        "residual_level": scale.level(after) if after else None,
        "added_on": f"{risk.added_at:%Y-%m-%d}",
        "reviewed_on": f"{risk.reviewed_at:%Y-%m-%d}" if risk.reviewed_at else None,
        "closed_on": f"{risk.closed_at:%Y-%m-%d}" if risk.closed_at else None,
    }


def _item(item: Mapping[str, Any], names: Names) -> dict[str, Any]:
    found = {"title": item["title"], "owner": names.people.get(item["owner"], item["owner_name"])}
    return found | {"state": item["state"]} | ({"due": item["due"]} if "due" in item else {})


def as_cell(value: Value) -> str | int:
    """A value as one cell: lists a line for each, action items with bars between their parts."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "\n".join(_line(part) for part in value)
    return value


def _line(part: Any) -> str:
    if not isinstance(part, dict):
        return str(part)
    return BAR.join([part["title"], part["owner"], part["state"], *([part["due"]] if "due" in part else [])])


def in_order(found: Mapping[str, Value]) -> Iterable[str | int]:
    """The cells of a row, below the headings of ALL."""
    return (as_cell(found[name]) for name in ALL)
