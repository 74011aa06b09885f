"""What the register and its people know of the words in a file."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from evidence.models import System, User
from evidence.people import visible_systems
from exceptions import risk_links, risks
from exceptions.exchange.fields import Names
from exceptions.importing.mapping import normal
from exceptions.importing.rows import person_key
from exceptions.models import Risk, SecurityException


class Person(NamedTuple):
    uid: str
    name: str
    email: str
    active: bool


class Known:
    """What the register and its people know, as the importer may see it; asked once for a whole file."""

    def __init__(self, person: User, now: datetime) -> None:
        self.today, self.person = now.date(), person
        self.visible = visible_systems(person)
        people = [Person(*row) for row in User.objects.values_list("uid", "name", "email", "is_active")]
        bear = Counter(person_key(found.name) for found in people if found.active)
        #: By mail address and, where only one active person bears it, by name.
        self.people = {person_key(p.name): p for p in people if p.active and bear[person_key(p.name)] == 1}
        self.people |= {person_key(found.email): found for found in people}
        self.emails = {found.uid: found.email for found in people}
        systems = System.objects.all() if self.visible is None else System.objects.filter(pk__in=self.visible)
        self.systems = {normal(name): (pk, name) for pk, name in systems.values_list("pk", "name")}
        found = list(Risk.objects.in_systems(self.visible))
        self.by_number = {risk.pk: risk for risk in found}
        self.by_title: dict[str, list[Risk]] = {}
        for risk in found:
            self.by_title.setdefault(risk.title.strip().casefold(), []).append(risk)
        self.references = {risk.reference.casefold(): risk for risk in Risk.objects.exclude(reference="")}
        self.names = Names.of(found, self.visible)
        self.last = risks.last_risk()
        self.controls = risk_links.controls()
        self._seen: dict[str, str] = {}

    def exceptions(self, numbers: Sequence[str]) -> set[str]:
        seen = SecurityException.objects.in_systems(self.visible).filter(pk__in=numbers)
        return set(seen.values_list("pk", flat=True))

    def first_at(self, key: str, where: str) -> str | None:
        """Where the same number or reference stood before in the file."""
        before = self._seen.get(key)
        self._seen.setdefault(key, where)
        return before
