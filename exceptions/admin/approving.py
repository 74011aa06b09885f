"""Approving from a row: a dialog that asks for the reason, or without JavaScript the page with the same form."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import uuid4

from django.db.models import OuterRef, Subquery
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from evidence.admin.forms import person
from exceptions import waiting
from exceptions.admin.filters import reach
from exceptions.admin.shown import url
from exceptions.frozen import terms_digest
from exceptions.models import Renewal, SecurityException


@dataclass(frozen=True)
class Approving:
    """The way to one approval, and back to where it was begun."""

    exception: SecurityException
    back: str
    #: Of what the row shows: approved is this, or nothing.
    terms: str

    def button(self) -> str:
        """What `decide.html` and its script need; each carries a key of its own, so that two clicks are one write."""
        found = self.exception
        verb, of = ("approve_renewal", "the renewal of ") if found.renewal_pending else ("approve", "")
        return format_html(
            '<a class="pt-button pt-row" href="{}?{}" data-decide="{}" data-lead="{}" data-page="{}" data-once="{}"'
            ' data-terms="{}" aria-label="Approve {}{}">Approve…</a>',
            url(found, verb),
            urlencode({"back": self.back}),
            f"Approve {of}{found.pk}",
            found.title,
            url(found),
            uuid4(),
            self.terms,
            of,
            found.pk,
        )


def approvable(request: HttpRequest, rows: Sequence[SecurityException]) -> dict[str, Approving]:
    """Of these, by number, those that who looks may approve now. One question for all of them."""
    pending = Renewal.objects.filter(exception=OuterRef("pk"), state=Renewal.PENDING).values("expires_at")
    asked = waiting.waiting_for(person(request), reach(request), timezone.now()).filter(pk__in=[row.pk for row in rows])
    until = dict(asked.order_by().annotate(until=Subquery(pending)).values_list("pk", "until"))
    back = request.get_full_path()
    return {
        row.pk: Approving(row, back, terms_digest(row, expires_at=until[row.pk])) for row in rows if row.pk in until
    }
