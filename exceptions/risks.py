"""The risk register: adding, changing, reviewing and closing risks. Each is a record (R0.1, R4.9)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import F
from django.db.models.functions import Length

from config.errors import ConflictError, ForbiddenError, InvalidError, MissingError
from evidence.composing import Composed, append_composed
from evidence.ledger import Actor, Idempotency, Placed
from evidence.models import Record, System, User
from evidence.people import find_user, visible_systems
from exceptions import risk_links, risk_policy, rules
from exceptions.models import Risk, RiskChange
from exceptions.records import keep_until_closed, numbered

KEEPERS = ("liaison", "engineer", "captain", "admin")
STATES_OF_ITEMS = ("open", "done", "dropped")


@dataclass(frozen=True, kw_only=True)
class RiskEntry:
    """A risk as it is entered. `owner` is a mail address, `systems` are names; none means the whole company.

    `links` name exceptions, incidents and controls (`risk_links`); an action item is ``{title, owner, state?, due?}``
    with its owner's mail address and a date. Without `review_by` the level's interval says when it is reviewed.
    """

    title: str
    likelihood: int
    impact: int
    owner: str
    description: str = ""
    cause: str = ""
    consequence: str = ""
    residual_likelihood: int | None = None
    residual_impact: int | None = None
    mitigation: str = ""
    contingency: str = ""
    status: str = "open"
    systems: Sequence[str] = ()
    reference: str = ""
    review_by: date | None = None
    links: risk_links.Links = field(default_factory=dict)
    action_items: Sequence[Mapping[str, Any]] = ()


#: What may be changed later; the next review's date is a review's.
CHANGEABLE = tuple(name for name in RiskEntry.__dataclass_fields__ if name != "review_by")
#: What says how bad it is: a change of these may bring the next review nearer.
ASSESSED = ("likelihood", "impact", "residual_likelihood", "residual_impact")


# -- writing -----------------------------------------------------------------------------------------------------------


def add_risk(*, actor: Actor, entry: RiskEntry, idempotency: Idempotency | None = None) -> Placed:
    """Enter a risk. The record's body carries its number, as ``RISK-0001``.

    Raises ``role_required``, ``system_unknown``, ``system_not_yours``, ``person_unknown``, ``reference_taken``,
    ``review_in_past``, ``review_too_late``, and what `risk_links.checked` raises.
    """

    def compose(at: datetime) -> Composed:
        person = rules.person_of(actor)
        rules.require_role(person, *KEEPERS)
        systems = _systems(entry.systems, person)
        owner = find_user(entry.owner, where="$.owner")
        require_free(entry.reference)
        body = {name: getattr(entry, name) for name in CHANGEABLE if name not in {"reference", "systems"}} | {
            "risk": numbered("RISK", last_risk() + 1),
            "owner": owner.uid,
            "owner_name": owner.name,
            "systems": [system.name for system in systems],
            "links": risk_links.checked(entry.links, person),
            "action_items": items_said(entry.action_items),
            "review_by": _next_review(entry.review_by, level_of(vars(entry)), at.date()).isoformat(),
        }
        if entry.reference:
            body["reference"] = entry.reference
        return Composed(body, [system.id for system in systems])

    return append_composed("risk.added", compose, actor=actor, idempotency=idempotency)


def change_risk(
    *, actor: Actor, risk: str, reason: str, changes: Mapping[str, Any], idempotency: Idempotency | None = None
) -> Placed:
    """Change some members (CHANGEABLE) of an open risk. Raises ``change_invalid``, ``transition_not_allowed``."""
    if not changes or changes.keys() - set(CHANGEABLE):
        raise InvalidError(f"A change names some of {', '.join(CHANGEABLE)}.", code="change_invalid")

    def compose(at: datetime) -> Composed:
        person, found = _open_risk(actor, risk)
        said, scope = _resolved(changes, person, found)
        if (sooner := sooner_review(found, said, at.date())) is not None:
            said["review_by"] = sooner.isoformat()
        return Composed({"risk": found.id, "reason": reason, "changes": said}, scope)

    return append_composed("risk.changed", compose, actor=actor, idempotency=idempotency, apply=_keep)


def review_risk(
    *, actor: Actor, risk: str, reason: str, review_by: date | None = None, idempotency: Idempotency | None = None
) -> Placed:
    """Note that a risk was looked at again: what was found, and when it is next.

    Without `review_by` the level's interval says when. Raises ``transition_not_allowed``, ``review_in_past``,
    ``review_too_late``.
    """

    def compose(at: datetime) -> Composed:
        _, found = _open_risk(actor, risk)
        body = {
            "risk": found.id,
            "reason": reason,
            "rating": found.now_rating,
            "level": found.level,
            "review_by": _next_review(review_by, found.level, at.date()).isoformat(),
        }
        if found.review_by is not None:
            body["previous"] = found.review_by.isoformat()
        return Composed(body, found.systems)

    return append_composed("risk.reviewed", compose, actor=actor, idempotency=idempotency, apply=_keep)


def close_risk(*, actor: Actor, risk: str, reason: str, idempotency: Idempotency | None = None) -> Placed:
    """Close a risk. Raises ``transition_not_allowed`` when it is closed already."""

    def compose(_: datetime) -> Composed:
        found = _open_risk(actor, risk)[1]
        return Composed({"risk": found.id, "reason": reason}, found.systems)

    return append_composed("risk.closed", compose, actor=actor, idempotency=idempotency, apply=_keep)


def risk_for(person: User, number: str) -> Risk:
    """A risk within the person's reach. Raises ``risk_unknown``."""
    found = Risk.objects.in_systems(visible_systems(person)).filter(pk=number).first()
    if found is None:
        raise MissingError(f"There is no risk {number!r}.", code="risk_unknown", where="$.risk")
    return found


def may_keep(found: Risk, person: User) -> bool:
    """Whether the person may change, review and close it: its owner, or a keeper whose systems are all of its own."""
    if not found.is_open:
        return False
    return person.uid == found.owner or (person.has_role(*KEEPERS) and _covers(person, found))


# -- rules -------------------------------------------------------------------------------------------------------------


def _covers(person: User, found: Risk) -> bool:
    """Who is limited to some systems keeps neither what covers others too nor what is the whole company's."""
    visible = visible_systems(person)
    return visible is None or (bool(found.systems) and set(found.systems) <= set(visible))


def _open_risk(actor: Actor, number: str) -> tuple[User, Risk]:
    person = rules.person_of(actor)
    found = risk_for(person, number)
    if person.uid != found.owner:
        rules.require_role(person, *KEEPERS)
        if not _covers(person, found):
            raise ForbiddenError(f"{number} also covers what is not yours.", code="system_not_yours")
    if not found.is_open:
        raise InvalidError(f"{found.id} is closed.", code="transition_not_allowed")
    return person, found


def _systems(names: Sequence[str], person: User) -> list[System]:
    systems = rules.systems_named(names, person)
    if not systems and visible_systems(person) is not None:
        raise ForbiddenError(
            "A risk of the whole company is entered by somebody who sees all of it: name the systems.",
            code="system_not_yours",
            where="$.systems",
        )
    return systems


def _resolved(changes: Mapping[str, Any], person: User, found: Risk) -> tuple[dict[str, Any], list[str]]:
    """Changes as the record says them, with opaque ids instead of addresses, and the record's scope."""
    said, scope = dict(changes), list(found.systems)
    if "owner" in said:
        owner = find_user(said["owner"], where="$.changes.owner")
        said |= {"owner": owner.uid, "owner_name": owner.name}
    if "systems" in said:
        systems = _systems(said["systems"], person)
        said["systems"], scope = [system.name for system in systems], [system.id for system in systems]
    if "links" in said:
        said["links"] = risk_links.checked(said["links"], person, risk=found)
    if "action_items" in said:
        said["action_items"] = items_said(said["action_items"], found.action_items)
    if "reference" in said:
        require_free(said["reference"], besides=found)
    return said, scope


def items_said(given: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Action items as a record says them. Who has left may go on owning one that they own already."""
    owners = {item["owner"]: item["owner_name"] for item in known}
    found: list[dict[str, Any]] = []
    for place, item in enumerate(given):
        where = f"$.action_items[{place}]"
        if any(item["title"] == other["title"] for other in found):
            raise InvalidError("Two action items have the same title.", code="item_invalid", where=where)
        uid, name = _owner_of(str(item["owner"]), owners, f"{where}.owner")
        said = {"title": item["title"], "owner": uid, "owner_name": name, "state": item.get("state", "open")}
        found.append(said | ({"due": str(item["due"])} if item.get("due") else {}))
    return found


def _owner_of(given: str, known: Mapping[str, str], where: str) -> tuple[str, str]:
    if given in known:
        return given, known[given]
    owner = User.objects.filter(email__iexact=given).first()
    if owner is not None and owner.uid in known:
        return owner.uid, known[owner.uid]
    owner = find_user(given, where=where)
    return owner.uid, owner.name


def require_free(reference: str, *, besides: Risk | None = None) -> None:
    """Raises ConflictError ``reference_taken``: by its reference an imported row finds its risk."""
    if not reference:
        return
    taken = Risk.objects.filter(reference__iexact=reference).exclude(pk=besides.pk if besides else None).first()
    if taken is not None:
        raise ConflictError(
            f"Another risk is called {reference[:120]!r} already.", code="reference_taken", where="$.reference"
        )


# -- reviews -----------------------------------------------------------------------------------------------------------


def level_of(said: Mapping[str, Any]) -> str:
    """The level of what is said of a risk: after treatment where both of that are judged."""
    after = said.get("residual_likelihood"), said.get("residual_impact")
    likelihood, impact = after if None not in after else (said["likelihood"], said["impact"])
    return risk_policy.load().level(int(likelihood or 0) * int(impact or 0) or 1)


def latest_review(level: str, day: date) -> date:
    """When a risk of this level that was looked at on `day` is looked at again, at the latest."""
    return day + risk_policy.load().review[level]


def sooner_review(found: Risk, said: Mapping[str, Any], day: date) -> date | None:
    """The date that a change brings the next review forward to; None where it stays."""
    if found.review_by is not None and not set(ASSESSED) & said.keys():
        return None
    now = {name: getattr(found, name) for name in ASSESSED} | {name: said[name] for name in ASSESSED if name in said}
    latest = latest_review(level_of(now), day)
    return latest if found.review_by is None or latest < found.review_by else None


def _next_review(wished: date | None, level: str, day: date) -> date:
    latest = latest_review(level, day)
    if wished is None:
        return latest
    if wished < day:
        raise InvalidError("The next review lies in the past.", code="review_in_past", where="$.review_by")
    if wished > latest:
        days = (latest - day) // timedelta(days=1)
        raise InvalidError(
            f"A {level} risk is reviewed within {days} days: by {latest:%Y-%m-%d}.",
            code="review_too_late",
            where="$.review_by",
            latest=latest.isoformat(),
        )
    return wished


# -- numbers and retention ---------------------------------------------------------------------------------------------


def last_risk() -> int:
    """The highest number that a risk has, had or is held for an import. Under the head lock.

    Rows of records outlive their payload: numbers given after the newest import are counted by them.
    """
    longest = Risk.objects.order_by(Length("id").desc(), F("id").desc()).values_list("pk", flat=True)[:1]
    highest = next((int(number.partition("-")[2]) for number in longest), 0)
    held = Record.objects.filter(kind="risk.import_started").order_by("-index").values("index", "facts").first()
    added = Record.objects.filter(kind="risk.added")
    if held is None or "last" not in held["facts"]:
        return max(highest, added.count())
    after = added.filter(index__gt=held["index"]).count() - int(held["facts"]["added"])
    return max(highest, int(held["facts"]["last"]) + max(0, after))


def _keep(index: int, at: datetime, composed: Composed) -> None:
    keep(composed.body["risk"], at)


def keep(risk: str, at: datetime) -> None:
    """Retention runs from the closing, so every change moves it for all records before."""
    keep_until_closed(RiskChange.objects.filter(risk=risk).values("index"), at)
