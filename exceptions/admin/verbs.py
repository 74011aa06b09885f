"""What can be done to an exception: the buttons of its page, each leading to a form with a reason.

A GET shows the form and changes nothing, so that the links of a reminder may be followed by anything.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from django.http import HttpRequest

from evidence.admin.forms import actor, person
from evidence.ledger import Placed
from evidence.models import User
from exceptions import lifecycle, rules
from exceptions.admin.forms import CommentForm, DecisionForm, ReasonForm, RenewForm
from exceptions.models import SecurityException
from exceptions.models.terms import APPROVED, CHASED, CLAIMED, REQUESTED

Allowed = Callable[[SecurityException, User], bool]


@dataclass(frozen=True)
class Verb:
    """One transition, as people meet it. `shown` says whether its button stands on the page."""

    name: str
    title: str
    lead: str
    form: type[DecisionForm]
    write: Callable[..., Placed]
    shown: Allowed
    danger: bool = False

    def act(self, request: HttpRequest, exception: SecurityException, form: DecisionForm) -> Placed:
        """Make the transition. Raises what `lifecycle` raises."""
        given = {name: form.cleaned_data[name] for name in ("reason", "expires_at") if name in form.cleaned_data}
        return self.write(
            actor=actor(request), exception=exception.pk, idempotency=form.idempotency_or_none(request), **given
        )


def _waits(exception: SecurityException, user: User) -> bool:
    return exception.decision in {REQUESTED, CLAIMED} and user.has_role(*rules.DECIDERS)


def _renewal_waits(exception: SecurityException, user: User) -> bool:
    return exception.renewal_pending and user.has_role(*rules.DECIDERS)


def _stands(exception: SecurityException, user: User) -> bool:
    return exception.decision == APPROVED and user.has_role(*rules.DECIDERS)


def _concerned(decisions: Collection[str], *roles: str) -> Allowed:
    def shown(exception: SecurityException, user: User) -> bool:
        concerned = user.uid in {exception.requester, exception.owner} or user.has_role(*roles)
        return exception.decision in decisions and concerned

    return shown


def _renewable(exception: SecurityException, user: User) -> bool:
    return not exception.renewal_pending and _concerned([APPROVED], *rules.REQUESTERS)(exception, user)


VERBS = [
    Verb(
        "approve",
        "Approve",
        "It waives what it names from now until it expires. Requester and owner cannot approve.",
        CommentForm,
        lifecycle.approve,
        _waits,
    ),
    Verb("reject", "Reject", "The request ends here.", ReasonForm, lifecycle.reject, _waits, danger=True),
    Verb(
        "withdraw",
        "Withdraw",
        "The request is taken back.",
        ReasonForm,
        lifecycle.withdraw,
        _concerned([REQUESTED, CLAIMED], "liaison", "admin"),
    ),
    Verb(
        "approve_renewal",
        "Approve renewal",
        "The new expiry holds from now on; the earlier ones stay on record.",
        CommentForm,
        lifecycle.approve_renewal,
        _renewal_waits,
    ),
    Verb(
        "refuse_renewal",
        "Refuse renewal",
        "The present expiry stays.",
        ReasonForm,
        lifecycle.refuse_renewal,
        _renewal_waits,
        danger=True,
    ),
    Verb(
        "renew",
        "Renew",
        "Asks for more time. The present expiry holds until somebody else approves.",
        RenewForm,
        lifecycle.request_renewal,
        _renewable,
    ),
    Verb(
        "remediate",
        "Remediate",
        "Closes it: what it was about has been put right.",
        ReasonForm,
        lifecycle.remediate,
        _concerned(CHASED, "liaison", "admin"),
    ),
    Verb(
        "revoke",
        "Revoke",
        "Ends it now; what it waived counts again at once.",
        ReasonForm,
        lifecycle.revoke,
        _stands,
        danger=True,
    ),
]


def shown_to(exception: SecurityException, request: HttpRequest) -> list[Verb]:
    """The buttons for this exception and this person."""
    return [verb for verb in VERBS if verb.shown(exception, person(request))]
