"""What the register and its people know of the words in a file: four queries, whatever its length."""

from collections import Counter
from datetime import datetime

from evidence.models import System, User
from evidence.people import visible_systems
from exceptions import policy
from exceptions.importing.mapping import normal
from exceptions.importing.rows import Known, Person, Place, person_key
from exceptions.models import Risk, SecurityException


def known(person: User, now: datetime) -> Known:
    """As the importer may see it."""
    visible = visible_systems(person)
    systems = System.objects.all() if visible is None else System.objects.filter(pk__in=visible)
    rules = policy.load()
    return Known(
        now=now,
        people=_people(),
        systems={normal(name): Place(pk, name) for pk, name in systems.values_list("pk", "name")},
        references=_references(),
        risks=frozenset(Risk.objects.in_systems(visible).values_list("pk", flat=True)),
        longest_days={severity: term.days for severity, term in rules.longest_term.items()},
        approvals_needed=rules.approvals_needed,
    )


def _people() -> dict[str, Person]:
    """Active people by mail address, and by name where it is nobody else's."""
    active = list(User.objects.filter(is_active=True).values_list("uid", "name", "email"))
    names = Counter(person_key(name) for _, name, _ in active)
    alone = {person_key(name): Person(uid, name) for uid, name, _ in active if names[person_key(name)] == 1}
    return alone | {person_key(email): Person(uid, name) for uid, name, email in active}


def _references() -> dict[str, str]:
    rows = SecurityException.objects.exclude(reference="").values_list("reference", "pk")
    return {reference.casefold(): number for reference, number in rows}
