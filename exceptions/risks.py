"""The risk register: adding, changing and closing risks. Each is a record (R0.1, R4.9)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from config.errors import InvalidError, MissingError
from evidence.composing import Composed, append_composed
from evidence.ledger import Actor, Idempotency, Placed
from evidence.models import User
from evidence.people import find_user, visible_systems
from exceptions import rules
from exceptions.models import Risk, RiskChange
from exceptions.records import keep_until_closed, next_number

KEEPERS = ("liaison", "engineer", "captain", "admin")


@dataclass(frozen=True, kw_only=True)
class RiskEntry:
    """A risk as it is entered. `owner` is a mail address, `systems` are names; none means the whole company."""

    title: str
    likelihood: int
    impact: int
    owner: str
    description: str = ""
    residual_likelihood: int | None = None
    residual_impact: int | None = None
    mitigation: str = ""
    contingency: str = ""
    status: str = "open"
    systems: Sequence[str] = ()


#: What may be changed later.
CHANGEABLE = tuple(name for name in RiskEntry.__dataclass_fields__ if name != "systems")


def add_risk(*, actor: Actor, entry: RiskEntry, idempotency: Idempotency | None = None) -> Placed:
    """Enter a risk. The record's body carries its number, as ``RISK-0001``."""

    def compose(_: datetime) -> Composed:
        person = rules.person_of(actor)
        rules.require_role(person, *KEEPERS)
        systems = rules.systems_named(entry.systems, person)
        owner = find_user(entry.owner, where="$.owner")
        body = asdict(entry) | {
            "risk": next_number("RISK", "risk.added"),
            "owner": owner.uid,
            "owner_name": owner.name,
            "systems": [system.name for system in systems],
        }
        return Composed(body, [system.id for system in systems])

    return append_composed("risk.added", compose, actor=actor, idempotency=idempotency)


def change_risk(
    *, actor: Actor, risk: str, reason: str, changes: Mapping[str, Any], idempotency: Idempotency | None = None
) -> Placed:
    """Change some members (CHANGEABLE) of an open risk. Raises ``transition_not_allowed`` once it is closed."""
    if not changes or changes.keys() - set(CHANGEABLE):
        raise InvalidError(f"A change names some of {', '.join(CHANGEABLE)}.", code="change_invalid")

    def resolve() -> dict[str, Any]:
        if "owner" not in changes:
            return dict(changes)
        owner = find_user(changes["owner"], where="$.changes.owner")
        return {**changes, "owner": owner.uid, "owner_name": owner.name}

    def compose(_: datetime) -> Composed:
        found = _open_risk(actor, risk)
        return Composed({"risk": found.id, "reason": reason, "changes": resolve()}, found.systems)

    return append_composed("risk.changed", compose, actor=actor, idempotency=idempotency, apply=_keep)


def close_risk(*, actor: Actor, risk: str, reason: str, idempotency: Idempotency | None = None) -> Placed:
    """Close a risk. Raises ``transition_not_allowed`` when it is closed already."""

    def compose(_: datetime) -> Composed:
        found = _open_risk(actor, risk)
        return Composed({"risk": found.id, "reason": reason}, found.systems)

    return append_composed("risk.closed", compose, actor=actor, idempotency=idempotency, apply=_keep)


def risk_for(person: User, number: str) -> Risk:
    """A risk within the person's reach. Raises ``risk_unknown``."""
    found = Risk.objects.in_systems(visible_systems(person)).filter(pk=number).first()
    if found is None:
        raise MissingError(f"There is no risk {number!r}.", code="risk_unknown", where="$.risk")
    return found


def _open_risk(actor: Actor, number: str) -> Risk:
    person = rules.person_of(actor)
    found = risk_for(person, number)
    if person.uid != found.owner:
        rules.require_role(person, *KEEPERS)
    if found.status == "closed":
        raise InvalidError(f"{found.id} is closed.", code="transition_not_allowed")
    return found


def _keep(index: int, at: datetime, composed: Composed) -> None:
    """Retention runs from the closing, so every change moves it for all records before."""
    keep_until_closed(RiskChange.objects.filter(risk=composed.body["risk"]).values("index"), at)
