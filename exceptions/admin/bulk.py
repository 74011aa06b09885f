"""Several at once: what will happen to each is shown first, each is decided by its own rules, and each has a result.

Nothing here decides who may do what: `rules` says it before, and `lifecycle` again while it writes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from config.errors import ProoftrailError
from evidence.admin.forms import actor, page, person, written
from evidence.ledger import Idempotency, Placed
from evidence.models import User
from exceptions import ratification, rules
from exceptions.admin.filters import seen
from exceptions.admin.forms import ApproveForm, BulkForm, BulkRemediateForm, BulkRenewForm
from exceptions.admin.shown import url
from exceptions.admin.verbs import VERBS, Verb
from exceptions.frozen import terms_seen
from exceptions.models import SecurityException
from exceptions.models.terms import CLAIMED

#: Decided one after the other, each a record of its own.
MOST = 100
#: Verbs that ask for more than a reason.
_FORMS = {"renew": BulkRenewForm, "remediate": BulkRemediateForm}
Judge = Callable[[SecurityException, User, datetime], object]
Action = Callable[[Any, HttpRequest, QuerySet[SecurityException]], HttpResponse | None]


@dataclass(frozen=True)
class Judged:
    """One of the chosen: why it cannot be done, or nothing."""

    exception: SecurityException
    why_not: str = ""

    @property
    def url(self) -> str:
        return url(self.exception)


@dataclass(frozen=True)
class Result:
    """What came of one: the record, or why there is none."""

    exception: SecurityException
    placed: Placed | None = None
    error: str = ""

    @property
    def url(self) -> str:
        return url(self.exception)


# -- the actions of the list -------------------------------------------------------------------------------------------

#: Only who may decide is offered these.
_DECISIONS = frozenset({"approve", "reject", "approve_renewal", "refuse_renewal", "revoke", "ratify"})
#: What says something of its own about each is done one by one.
_ALONE = frozenset({"supersede"})


def actions_for(user: User) -> list[tuple[Action, str]]:
    """What the list offers for selected rows, each with its title."""
    decides = user.has_role(*rules.DECIDERS)
    found = [_action(verb) for verb in VERBS if verb.name not in _ALONE and (decides or verb.name not in _DECISIONS)]
    if decides:
        found.insert(1, _ratify_action())
    return found


def _action(verb: Verb) -> tuple[Action, str]:
    def act(_: Any, request: HttpRequest, chosen: QuerySet[SecurityException]) -> HttpResponse | None:
        return decide_each(request, chosen, verb)

    act.__name__ = f"{verb.name}_selected"
    return act, verb.title


def _ratify_action() -> tuple[Action, str]:
    def ratify_selected(_: Any, request: HttpRequest, chosen: QuerySet[SecurityException]) -> HttpResponse | None:
        return ratify(request, chosen)

    return ratify_selected, "Ratify: approved elsewhere"


# -- one after the other -----------------------------------------------------------------------------------------------


def decide_each(request: HttpRequest, chosen: QuerySet[SecurityException], verb: Verb) -> HttpResponse | None:
    """First the page that says what will happen, then a page with what came of each."""
    found = _limited(request, chosen, MOST)
    if found is None:
        return None
    form_class = _FORMS.get(verb.name, BulkForm)
    permit = rules.PERMITS[verb.transition]
    if "confirmed" in request.POST:
        form = form_class(request.POST, chosen=_named_in(request))
        if form.is_valid():
            results = [_decided(request, verb, one, form) for one in found]
            return _results(request, verb.title, results)
        judged = _judged(request, found, permit)
    else:
        judged = _judged(request, found, permit)
        going = [one.exception.pk for one in judged if not one.why_not]
        seen_now = {one.exception.pk: terms_seen(one.exception) for one in judged} if verb.form is ApproveForm else {}
        form = form_class(chosen=going, initial={"action": f"{verb.name}_selected", "seen": seen_now})
    return _confirmation(request, form, judged, title=verb.title, lead=verb.lead, danger=verb.danger)


def _limited(request: HttpRequest, chosen: QuerySet[SecurityException], most: int) -> list[SecurityException] | None:
    if "confirmed" in request.POST:  # by what the page named: of those, some may not fit the list's filters any more
        chosen = seen(request).filter(pk__in=_named_in(request))
    found = list(chosen.order_by("requested_index")[: most + 1])
    if len(found) <= most:
        return found
    messages.error(request, f"At most {most} at once: narrow the list, or choose fewer.")
    return None


def _named_in(request: HttpRequest) -> list[str]:
    return request.POST.getlist(ACTION_CHECKBOX_NAME)


def _judged(request: HttpRequest, found: Iterable[SecurityException], permit: Judge) -> list[Judged]:
    """As the rules say now; they are asked again, under the head lock, when it is done."""
    me, now = person(request), timezone.now()
    return [Judged(one, _why_not(one, me, now, permit)) for one in found]


def _why_not(found: SecurityException, me: User, now: datetime, permit: Judge) -> str:
    try:
        rules.exception_for(me, found.pk)
        permit(found, me, now)
    except ProoftrailError as error:
        return error.detail
    return ""


def _decided(request: HttpRequest, verb: Verb, found: SecurityException, form: BulkForm) -> Result:
    key, said = _own_key(request, form, found), form.said()
    if verb.form is ApproveForm:
        said["terms"] = form.terms_of(found.pk)
    try:
        placed = verb.write(actor=actor(request), exception=found.pk, idempotency=key, **said)
    except ProoftrailError as error:
        return Result(found, error=error.detail)
    return Result(found, placed)


def _own_key(request: HttpRequest, form: BulkForm, found: SecurityException) -> Idempotency | None:
    """A second click of an impatient person writes nothing twice."""
    if not form.cleaned_data["once"]:
        return None
    body = repr(sorted((name, str(value)) for name, value in form.said().items()))
    key = f"{form.cleaned_data['once']} {found.pk}"
    return Idempotency.of(key, method="POST", path=request.path, body=body.encode())


# -- ratifying a list --------------------------------------------------------------------------------------------------


def ratify(request: HttpRequest, chosen: QuerySet[SecurityException]) -> HttpResponse | None:
    """All of the list under one signed digest, or none of it."""
    found = _limited(request, chosen, ratification.MOST)
    if found is None:
        return None
    judged = _judged(request, found, _may_ratify)
    going = [one.exception.pk for one in judged if not one.why_not]
    if "confirmed" in request.POST:
        form = BulkForm(request.POST, chosen=_named_in(request))
        placed = written(form, lambda: _ratified(request, found, form))
        if placed is not None:
            return _results(request, "Ratify", [Result(one, placed) for one in found])
    else:
        form = BulkForm(chosen=going, initial={"action": "ratify_selected"})
    lead = (
        "They waive what they name from now on, all or none of them. Who requested, owns or imported one cannot "
        "ratify it. One record signs the list, and each exception gets its approval."
    )
    return _confirmation(request, form, judged, title="Ratify", lead=lead, danger=False)


def _may_ratify(found: SecurityException, me: User, now: datetime) -> None:
    rules.require_decision(found, CLAIMED, doing="ratified")
    rules.may_approve(found, me, now)


def _ratified(request: HttpRequest, found: Sequence[SecurityException], form: BulkForm) -> Placed:
    return ratification.ratify(
        actor=actor(request),
        exceptions=[one.pk for one in found],
        reason=form.cleaned_data["reason"],
        idempotency=form.idempotency_or_none(request),
    )


# -- pages -------------------------------------------------------------------------------------------------------------


def _confirmation(
    request: HttpRequest, form: BulkForm, judged: Sequence[Judged], *, title: str, lead: str, danger: bool
) -> HttpResponse:
    going = [one for one in judged if not one.why_not]
    return page(
        request,
        "exceptions/bulk.html",
        title=f"{title} {len(going)} exception{'s' * (len(going) != 1)}",
        lead=lead,
        form=form,
        going=going,
        staying=[one for one in judged if one.why_not],
        submit=title,
        danger=danger,
        cancel=request.get_full_path(),
        now=timezone.now(),
    )


def _results(request: HttpRequest, title: str, results: Sequence[Result]) -> HttpResponse:
    done = [one for one in results if one.placed is not None]
    return page(
        request,
        "exceptions/bulk_results.html",
        title=f"{title}: {len(done)} of {len(results)} done",
        done=done,
        failed=[one for one in results if one.placed is None],
        back=request.get_full_path(),
    )
