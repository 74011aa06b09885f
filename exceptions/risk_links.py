"""What a risk points to: exceptions, incidents, controls. Checked when it is said, and shown as far as one may see.

This app knows no controls: who has them registers a source at start.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from django.db.models import Q

from config.errors import InvalidError, MissingError
from evidence.models import Record, User
from evidence.people import Principal, visible_systems
from exceptions.models import Risk, SecurityException
from exceptions.models.register import ExceptionQuerySet
from exceptions.models.risks import RiskQuerySet

NAMES = ("exceptions", "incidents", "controls")
Links = Mapping[str, Sequence[str]]
#: Ids of controls and their titles.
Controls = Callable[[], Mapping[str, str]]
_CONTROLS: list[Controls] = []


def register_controls(source: Controls) -> None:
    """Let risks point to these controls too."""
    if source not in _CONTROLS:
        _CONTROLS.append(source)


def controls() -> dict[str, str]:
    """Every control that a risk may point to, with its title."""
    return {name: title for source in _CONTROLS for name, title in source().items()}


# -- what may be said --------------------------------------------------------------------------------------------------


def links_of(risk: Risk | None) -> dict[str, list[str]]:
    """What a risk points to now."""
    if risk is None:
        return {name: [] for name in NAMES}
    return {"exceptions": risk.linked_exceptions, "incidents": risk.incidents, "controls": risk.controls}


def checked(given: Links, person: User, *, risk: Risk | None = None) -> dict[str, list[str]]:
    """Links as a record says them: each new one is there and within the person's reach.

    What the risk points to already and the person cannot see stays: nobody removes what they are not shown.
    Raises ``links_invalid``, ``exception_unknown``, ``incident_unknown``, ``control_unknown``.
    """
    if unknown := sorted(set(given) - set(NAMES)):
        raise InvalidError(f"Links are {', '.join(NAMES)}, not {unknown[0]!r}.", code="links_invalid", where="$.links")
    before, visible = links_of(risk), visible_systems(person)
    said: dict[str, list[str]] = {}
    for name, values in given.items():
        wanted = list(dict.fromkeys(values))
        known = _KNOWN[name](set(wanted) | set(before[name]), visible)
        for value in wanted:
            if value not in known and value not in before[name]:
                raise _missing(name, value, wanted.index(value))
        seen = None if name == "controls" else visible  # everybody sees controls
        said[name] = wanted + hidden(before[name], known, wanted, seen)
    return said


def hidden(
    before: Sequence[str], known: Collection[str], wanted: Collection[str], visible: Sequence[str] | None
) -> list[str]:
    """What a person who sees some systems alone was not shown of a list. Who sees all of it was shown all."""
    return [] if visible is None else [value for value in before if value not in known and value not in wanted]


def _missing(name: str, value: str, place: int) -> MissingError:
    what = name.removesuffix("s")
    return MissingError(
        f"There is no {what} {value[:80]!r} that you may see.", code=f"{what}_unknown", where=f"$.links.{name}[{place}]"
    )


def _known_exceptions(numbers: Iterable[str], visible: Sequence[str] | None) -> set[str]:
    found = SecurityException.objects.in_systems(visible).filter(pk__in=list(numbers))
    return set(found.values_list("pk", flat=True))


def _known_incidents(names: Iterable[str], visible: Sequence[str] | None) -> set[str]:
    return set(incident_records(names, visible))


def _known_controls(names: Iterable[str], visible: Sequence[str] | None) -> set[str]:
    return set(controls())


_KNOWN: dict[str, Callable[[Iterable[str], Sequence[str] | None], set[str]]] = {
    "exceptions": _known_exceptions,
    "incidents": _known_incidents,
    "controls": _known_controls,
}


# -- what is shown -----------------------------------------------------------------------------------------------------


def incident_records(names: Iterable[str], visible: Sequence[str] | None) -> dict[str, int]:
    """Names of incidents that may be seen, and the records that opened them (of several the newest)."""
    wanted = list(names)
    if not wanted:
        return {}
    opened = Record.objects.counting().in_systems(visible).filter(kind="incident.opened", facts__incident__in=wanted)
    return {facts["incident"]: index for facts, index in opened.order_by("index").values_list("facts", "index")}


def named_by(risk: Risk, visible: Sequence[str] | None) -> dict[str, list[str]]:
    """What the risk itself points to, as far as it may be seen; all of it where everything may."""
    if visible is None:
        return links_of(risk)
    exceptions = _known_exceptions(risk.linked_exceptions, visible)
    incidents = incident_records(risk.incidents, visible)
    return {
        "exceptions": [number for number in risk.linked_exceptions if number in exceptions],
        "incidents": [name for name in risk.incidents if name in incidents],
        "controls": list(risk.controls),
    }


def shown(risk: Risk, principal: Principal) -> dict[str, list[str]]:
    """The same with the exceptions that name the risk."""
    visible = visible_systems(principal)
    named = exceptions_of(risk, visible).order_by("requested_index").values_list("pk", flat=True)
    return named_by(risk, visible) | {"exceptions": list(named)}


def exceptions_of(risk: Risk, visible: Sequence[str] | None) -> ExceptionQuerySet:
    """Exceptions that name the risk or that it names."""
    named = Q(risk=risk.pk) | Q(pk__in=risk.linked_exceptions)
    return SecurityException.objects.in_systems(visible).filter(named)


def risks_of(exception: SecurityException, visible: Sequence[str] | None) -> RiskQuerySet:
    """Risks that the exception names or that name it."""
    named = Q(pk=exception.risk_id) | Q(linked_exceptions__contains=[exception.pk])
    return Risk.objects.in_systems(visible).filter(named)
