"""What can be done to an exception: the buttons of its page, each leading to a form with a reason.

A GET shows the form and changes nothing, so that the links of a reminder may be followed by anything.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest
from django.utils import timezone

from evidence.admin.forms import actor, person
from evidence.ledger import Placed
from exceptions import lifecycle, rules
from exceptions.admin.forms import (
    AmendForm,
    ApproveForm,
    DecisionForm,
    ReasonForm,
    RemediateForm,
    RenewForm,
    SupersedeForm,
)
from exceptions.models import SecurityException


@dataclass(frozen=True)
class Verb:
    """One transition, as people meet it. Its button stands on the page where the person may make it."""

    name: str
    title: str
    lead: str
    form: type[DecisionForm]
    write: Callable[..., Placed]
    transition: str
    danger: bool = False

    def act(self, request: HttpRequest, exception: SecurityException, form: DecisionForm) -> Placed:
        """Make the transition. Raises what `lifecycle` raises."""
        return self.write(
            actor=actor(request), exception=exception.pk, idempotency=form.idempotency_or_none(request), **form.said()
        )


VERBS = [
    Verb(
        "approve",
        "Approve",
        "It waives what it names from now until it expires. Requester and owner cannot approve.",
        ApproveForm,
        lifecycle.approve,
        "approved",
    ),
    Verb("reject", "Reject", "The request ends here.", ReasonForm, lifecycle.reject, "rejected", danger=True),
    Verb(
        "withdraw",
        "Withdraw",
        "The request is taken back.",
        ReasonForm,
        lifecycle.withdraw,
        "withdrawn",
    ),
    Verb(
        "approve_renewal",
        "Approve renewal",
        "The new expiry holds from now on; the earlier ones stay on record.",
        ApproveForm,
        lifecycle.approve_renewal,
        "renewed",
    ),
    Verb(
        "refuse_renewal",
        "Refuse renewal",
        "The present expiry stays.",
        ReasonForm,
        lifecycle.refuse_renewal,
        "renewal_refused",
        danger=True,
    ),
    Verb(
        "renew",
        "Renew",
        "Asks for more time. The present expiry holds until somebody else approves.",
        RenewForm,
        lifecycle.request_renewal,
        "renewal_requested",
    ),
    Verb(
        "remediate",
        "Remediate",
        "Closes it: what it was about has been put right.",
        RemediateForm,
        lifecycle.remediate,
        "remediated",
    ),
    Verb(
        "amend",
        "Amend",
        "Changes what was asked for. It waives nothing until somebody else approves it again; dates move by renewals.",
        AmendForm,
        lifecycle.amend,
        "amended",
    ),
    Verb(
        "supersede",
        "Supersede",
        "Closes it: another exception, with an approval of its own, takes its place.",
        SupersedeForm,
        lifecycle.supersede,
        "superseded",
    ),
    Verb(
        "revoke",
        "Revoke",
        "Ends it now; what it waived counts again at once.",
        ReasonForm,
        lifecycle.revoke,
        "revoked",
        danger=True,
    ),
]


def shown_to(exception: SecurityException, request: HttpRequest) -> list[Verb]:
    """The buttons for this exception and this person."""
    allowed = rules.moves(exception, person(request), timezone.now())
    return [verb for verb in VERBS if verb.transition in allowed]
