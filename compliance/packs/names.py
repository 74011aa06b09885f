"""Names for opaque ids, as the ledger knew them at a checkpoint: the same pack shows the same names when rebuilt."""

import functools

from django.db.models import Q

from config.errors import GoneError
from evidence.ledger import reader
from evidence.models import Record
from evidence.models.people import SERVICE


class Names:
    """Looks into access and configuration records below `size`; the id itself where they say nothing (any more)."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.person = functools.lru_cache(10_000)(self._person)
        self.system = functools.lru_cache(1_000)(self._system)

    def _person(self, uid: str) -> str:
        if uid == SERVICE:
            return "Prooftrail"
        return self._newest(Q(kind__startswith="access."), Q(facts__user=uid) | Q(facts__pipeline=uid)) or uid

    def _system(self, system: str) -> str:
        return self._newest(Q(kind="config.system"), Q(facts__system=system)) or system

    def _newest(self, *conditions: Q) -> str | None:
        found = Record.objects.filter(*conditions, index__lt=self._size).order_by("-index")
        for index in found.values_list("index", flat=True)[:5]:
            try:
                name = reader.get(index).recorded.body.get("name")
            except GoneError:
                continue
            if name:
                return str(name)
        return None
