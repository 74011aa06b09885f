"""What exceptions waive. Asked by the gate; nothing is waived before its approval was received."""

from dataclasses import dataclass
from datetime import datetime

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

    They cover every release of their systems. `at` may lie in the past: the answer is that of the records then.
    """
    found = Transition.objects.filter(
        standing(at), in_state("active", at), requirements__contains=[requirement], systems__contains=[system]
    )
    rows = found.select_related("exception").order_by("-expires_at", "index")
    return [Waiver(row.exception_id, row.exception.title, row.expires_at, row.index) for row in rows]
