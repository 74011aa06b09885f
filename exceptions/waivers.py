"""What exceptions waive. Asked by the gate; nothing is waived before its approval was received."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet

from evidence import waivers as registry
from exceptions.models import Transition
from exceptions.models.terms import in_state, standing


@dataclass(frozen=True)
class Waiver:
    """An active exception that names the requirement."""

    exception: str
    title: str
    expires_at: datetime
    #: The record from which it applied in this form.
    index: int


def waivers(requirement: str, system: str, release: str | None, at: datetime) -> list[Waiver]:
    """Exceptions active at `at` that waive `requirement` for `system` (opaque id), the longest-lasting first.

    They cover the releases that they name, or every one of their systems. `at` may lie in the past: the answer is that
    of the records then.
    """
    found = _active([requirement], system, release, at, None)
    return [Waiver(row.exception_id, row.exception.title, row.expires_at, row.index) for row in found]


@registry.register
def for_gate(
    requirements: Collection[str], system: str, release: str | None, at: datetime, size: int | None = None
) -> list[registry.Waiver]:
    """The same for several requirements in one query; with `size`, as the first so many records say."""
    return [
        registry.Waiver(name, row.exception_id, row.exception.title, row.expires_at, row.index)
        for row in _active(requirements, system, release, at, size)
        for name in row.requirements
        if name in requirements
    ]


def _active(
    requirements: Collection[str], system: str, release: str | None, at: datetime, size: int | None
) -> QuerySet[Transition]:
    found = Transition.objects.filter(
        in_state("active", at),
        _latest(at, size),
        _covering(release),
        requirements__overlap=list(requirements),
        systems__contains=[system],
    )
    return found.select_related("exception").order_by("-expires_at", "index")


def _covering(release: str | None) -> Q:
    """Those for every release, and those that name this one."""
    every = Q(releases=[])
    return every if release is None else every | Q(releases__contains=[release])


def _latest(at: datetime, size: int | None) -> Q:
    """The latest transition of each exception: at a moment, and of those among the first `size` records."""
    if size is None:
        return standing(at)
    # Records of one batch share their time: which of them had come is a question of their indexes.
    later = Transition.objects.filter(
        exception=OuterRef("exception"), index__gt=OuterRef("index"), index__lt=size, at__lte=at
    )
    return Q(~Exists(later), at__lte=at, index__lt=size)
