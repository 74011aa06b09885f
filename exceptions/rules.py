"""Who may do what to an exception, and when. Asked under the head lock; each raises, with a stable code, or returns."""

import re
from collections.abc import Callable, Collection, Iterable
from datetime import datetime

from config.errors import ConflictError, ForbiddenError, InvalidError, MissingError, ProoftrailError
from evidence.ledger import Actor
from evidence.models import Record, System, User
from evidence.people import visible_systems
from exceptions import policy
from exceptions.models import ExceptionApproval, Renewal, SecurityException
from exceptions.models.terms import APPROVED, CLAIMED, REQUESTED, days_between

#: Roles in which a person may decide, the strongest first.
DECIDERS = ("executive", "approver", "liaison", "admin")
REQUESTERS = ("liaison", "engineer", "admin")
_TAG = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,119}")

# -- people and scope --------------------------------------------------------------------------------------------------


def person_of(actor: Actor) -> User:
    """The active person who acts. Pipelines and the service itself decide nothing about exceptions."""
    person = User.objects.filter(uid=actor.principal, is_active=True).first()
    if person is None:
        raise ForbiddenError("Only a person may do this.", code="person_required")
    return person


def systems_named(names: Iterable[str], person: User) -> list[System]:
    """Systems by name, all within the person's reach. Raises ``system_unknown``."""
    wanted = list(dict.fromkeys(names))
    visible = visible_systems(person)
    found = {system.name: system for system in System.objects.filter(name__in=wanted)}
    for place, name in enumerate(wanted):
        if name not in found or (visible is not None and found[name].id not in visible):
            raise MissingError(f"There is no system {name!r}.", code="system_unknown", where=f"$.systems[{place}]")
    return [found[name] for name in wanted]


def exception_for(person: User, number: str) -> SecurityException:
    """An exception that the person may act on. Raises ``exception_unknown``, ``system_not_yours``."""
    found = SecurityException.objects.seen_by(person).filter(pk=number).first()
    if found is None:
        raise MissingError(f"There is no exception {number!r}.", code="exception_unknown")
    if not _reaches(found, person):
        raise ForbiddenError(f"{number} also covers systems that are not yours.", code="system_not_yours")
    return found


def _reaches(exception: SecurityException, person: User) -> bool:
    """Whether all of its systems are within the person's reach, or it is their own."""
    visible = visible_systems(person)
    own = person.uid in {exception.requester, exception.owner} and not person.limits.systems
    return visible is None or own or set(exception.systems) <= set(visible)


def check_releases(releases: Iterable[str], systems: Collection[str]) -> None:
    """Each is ``SYSTEM:TAG`` of one of the systems, opened or not yet. Raises ``release_invalid``."""
    for place, release in enumerate(releases):
        system, _, tag = release.partition(":")
        if system not in systems or not _TAG.fullmatch(tag):
            raise InvalidError(
                f"{release!r} is no release of {', '.join(sorted(systems))}: SYSTEM:TAG.",
                code="release_invalid",
                where=f"$.releases[{place}]",
            )


def evidence_named(indexes: Iterable[int], exception: SecurityException, person: User) -> list[int]:
    """Records that show a remediation: there, not withdrawn, seen by the person.

    Raises ``evidence_required`` where the severity asks for some, ``evidence_unknown``.
    """
    wanted = list(dict.fromkeys(indexes))
    if not wanted and exception.severity in policy.load().remediation_needs_evidence:
        raise InvalidError(
            f"{exception.id} is {exception.severity}: name the records that show it was put right.",
            code="evidence_required",
            where="$.evidence",
        )
    seen = Record.objects.in_systems(visible_systems(person)).filter(index__in=wanted, withdrawn_by=None)
    known = set(seen.values_list("index", flat=True))
    for place, index in enumerate(wanted):
        if index not in known:
            raise InvalidError(f"There is no record {index}.", code="evidence_unknown", where=f"$.evidence[{place}]")
    return wanted


def replacement(number: str, exception: SecurityException, person: User, at: datetime) -> SecurityException:
    """The active exception that takes another's place. Raises ``replacement_not_active``, ``exception_unknown``."""
    found = exception_for(person, number)
    if found.pk == exception.pk or found.state(at) != "active":
        raise InvalidError(
            f"{number} cannot take the place of {exception.pk}: it is "
            + ("the same." if found.pk == exception.pk else f"{found.state(at)}, not active."),
            code="replacement_not_active",
            where="$.by",
        )
    return found


def require_role(person: User, *roles: str) -> None:
    if not person.has_role(*roles):
        raise ForbiddenError(f"This needs one of the roles {', '.join(roles)}.", code="role_required")


def require_stake(exception: SecurityException, person: User, *roles: str) -> None:
    """The requester, the owner, or somebody with one of the roles."""
    if person.uid not in {exception.requester, exception.owner}:
        require_role(person, *roles)


# -- states ------------------------------------------------------------------------------------------------------------


def require_decision(exception: SecurityException, *decisions: str, doing: str) -> None:
    if exception.decision not in decisions:
        raise _not_allowed(f"{exception.id} is {exception.decision}: it cannot be {doing}.")


def require_no_renewal(exception: SecurityException, *, doing: str) -> None:
    if exception.renewal_pending:
        raise _not_allowed(f"A renewal of {exception.id} waits for approval: it cannot be {doing}.")


def _not_allowed(detail: str) -> InvalidError:
    return InvalidError(detail, code="transition_not_allowed", where="$.to")


def pending_renewal(exception: SecurityException, at: datetime) -> Renewal:
    """The renewal to decide. Raises ``transition_not_allowed``; of an expired one ``review_required``."""
    renewal = exception.pending_renewal
    if exception.decision == APPROVED and renewal is not None:
        return renewal
    if exception.state(at) == "expired":
        raise ConflictError(
            f"{exception.id} expired on {exception.expires_at:%Y-%m-%d}. It goes on only after a review: request a "
            "renewal with its reason, which somebody else approves.",
            code="review_required",
        )
    raise _not_allowed(f"No renewal of {exception.id} waits for approval.")


# -- decisions (segregation of duties) ---------------------------------------------------------------------------------


def deciding_role(exception: SecurityException, person: User, renewal: Renewal | None = None) -> str:
    """The role in which the person decides.

    Nobody decides about what they asked for, wrote, imported or own: neither in the API nor in the admin, alone or
    in bulk.
    """
    require_role(person, *DECIDERS)
    amended = exception.transitions.filter(kind="exception.amended").values_list("by", flat=True)
    interested = {exception.requester, exception.owner, exception.imported_by, *amended} | (
        {renewal.requested_by} if renewal else set()
    )
    if person.uid in interested:
        raise ForbiddenError(
            f"You requested, imported or own {exception.id}: somebody else has to decide.", code="self_approval"
        )
    return next(role for role in DECIDERS if role in person.roles)


def may_approve(exception: SecurityException, person: User, at: datetime) -> str:
    """The role in which the person may approve it now."""
    require_decision(exception, REQUESTED, CLAIMED, doing="approved")
    return _may_agree(exception, None, person, at)


def may_renew(exception: SecurityException, person: User, at: datetime) -> str:
    """The role in which the person may approve the pending renewal now."""
    return _may_agree(exception, pending_renewal(exception, at), person, at)


def _may_agree(exception: SecurityException, renewal: Renewal | None, person: User, at: datetime) -> str:
    """The role in which the person's yes counts: to the renewal, or else to the exception itself."""
    role, given = deciding_role(exception, person, renewal), _given(exception, renewal)
    if any(approval.person == person.uid for approval in given):
        raise ForbiddenError("You approved it already: another person is needed.", code="already_approved")
    require_future((renewal or exception).expires_at, at)
    completes = len(given) + 1 >= (renewal or exception).approvals_needed
    why = _beyond_policy(exception, renewal)
    if why and completes and "executive" not in {role, *(approval.role for approval in given)}:
        raise ForbiddenError(why, code="executive_required")
    return role


def _given(exception: SecurityException, renewal: Renewal | None) -> list[ExceptionApproval]:
    """The approvals that count so far, of the renewal or of the exception itself."""
    of = renewal.pk if renewal else None
    return [one for one in exception.approvals.all() if one.standing and one.renewal_id == of]


def needs_executive(exception: SecurityException) -> str:
    """Why an executive has to be among the approvers of what waits; empty where none has to be, or one is already.

    The other approvals, where several are needed, may be anybody's who decides.
    """
    renewal = exception.pending_renewal
    if renewal is None and exception.decision not in (REQUESTED, CLAIMED):
        return ""
    if any(approval.role == "executive" for approval in _given(exception, renewal)):
        return ""
    return _beyond_policy(exception, renewal)


def _beyond_policy(exception: SecurityException, renewal: Renewal | None) -> str:
    """What of it goes beyond what others than executives may allow; empty where nothing does."""
    limits, severity = policy.load(), exception.severity
    if renewal is not None and exception.renewals_made >= limits.renewals_without_executive[severity]:
        made = exception.renewals_made
        times = "once" if made == 1 else f"{made} times"
        return f"{exception.id} was renewed {times}: one more needs an executive among the approvers."
    asked, longest = renewal or exception, limits.longest_term[severity].days
    term = days_between(asked.term_from, asked.expires_at)
    if term <= longest:
        return ""
    what = f"The renewal of {exception.id}" if renewal else exception.id
    return f"{what} asks for {term} days: beyond {longest} a {severity} one needs an executive among the approvers."


def may_reject(exception: SecurityException, person: User, _: datetime) -> str:
    """The role in which the person may refuse the request."""
    require_decision(exception, REQUESTED, CLAIMED, doing="rejected")
    return deciding_role(exception, person)


def may_withdraw(exception: SecurityException, person: User, _: datetime) -> None:
    """Its requester, its owner or a liaison."""
    require_decision(exception, REQUESTED, CLAIMED, doing="withdrawn")
    require_stake(exception, person, "liaison", "admin")


def may_amend(exception: SecurityException, person: User, _: datetime) -> None:
    require_decision(exception, REQUESTED, CLAIMED, APPROVED, doing="amended")
    require_no_renewal(exception, doing="amended")
    require_stake(exception, person, "liaison", "admin")


def may_ask_renewal(exception: SecurityException, person: User, _: datetime) -> None:
    require_decision(exception, APPROVED, doing="renewed")
    require_no_renewal(exception, doing="renewed a second time")
    require_stake(exception, person, *REQUESTERS)


def may_refuse_renewal(exception: SecurityException, person: User, at: datetime) -> str:
    """The role in which the person may refuse the pending renewal."""
    return deciding_role(exception, person, pending_renewal(exception, at))


def may_revoke(exception: SecurityException, person: User, _: datetime) -> None:
    """Taking permission away needs no second person."""
    require_decision(exception, APPROVED, doing="revoked")
    require_role(person, *DECIDERS)


def may_remediate(exception: SecurityException, person: User, _: datetime) -> None:
    """The owner, the requester or a liaison."""
    require_decision(exception, APPROVED, CLAIMED, doing="remediated")
    require_stake(exception, person, "liaison", "admin")


def may_supersede(exception: SecurityException, person: User, _: datetime) -> None:
    """The owner, the requester or a liaison: the waiver that goes on has its own approval."""
    require_decision(exception, APPROVED, CLAIMED, doing="superseded")
    require_stake(exception, person, "liaison", "admin")


# -- dates -------------------------------------------------------------------------------------------------------------


def require_future(expires_at: datetime, at: datetime) -> None:
    if expires_at <= at:
        raise InvalidError("The expiry lies in the past.", code="expiry_in_past", where="$.expires_at")


def check_term(severity: str, start: datetime, expires_at: datetime) -> None:
    """Not longer than the severity allows with an executive, in UTC calendar days: a bare date's last second belongs
    to its day. Where an executive is needed is said and held as it is approved (`needs_executive`).
    """
    limits, term = policy.load(), days_between(start, expires_at)
    longest, most = limits.longest_term[severity].days, limits.longest_with_executive[severity].days
    if term > most:
        raise InvalidError(
            f"A {severity} exception may last {longest} days, and {most} if an executive approves it, not {term}.",
            code="term_too_long",
            where="$.expires_at",
            longest_days=longest,
            longest_days_with_executive=most,
        )


def check_dates(severity: str, effective_from: datetime, expires_at: datetime, at: datetime) -> None:
    """The dates of a request received at `at`."""
    require_future(expires_at, at)
    if expires_at <= effective_from:
        raise InvalidError("It would expire before it begins.", code="date_invalid", where="$.expires_at")
    back = policy.load().backdating.days
    if days_between(effective_from, at) > back:
        raise InvalidError(
            f"The effective date lies more than {back} days back.",
            code="effective_too_early",
            where="$.effective_from",
        )
    check_term(severity, effective_from, expires_at)


def check_renewal(exception: SecurityException, expires_at: datetime, at: datetime) -> None:
    """The new expiry of a renewal requested at `at`."""
    require_future(expires_at, at)
    if expires_at <= exception.expires_at:
        raise InvalidError(
            f"{exception.id} already lasts until {exception.expires_at:%Y-%m-%d %H:%M} UTC.",
            code="expiry_not_later",
            where="$.expires_at",
        )
    check_term(exception.severity, max(exception.expires_at, at), expires_at)


# -- what somebody may do next -----------------------------------------------------------------------------------------

#: By transition: raises unless the person may make it, whatever they would say with it.
PERMITS: dict[str, Callable[[SecurityException, User, datetime], object]] = {
    "approved": may_approve,
    "rejected": may_reject,
    "withdrawn": may_withdraw,
    "amended": may_amend,
    "renewal_requested": may_ask_renewal,
    "renewed": may_renew,
    "renewal_refused": may_refuse_renewal,
    "revoked": may_revoke,
    "remediated": may_remediate,
    "superseded": may_supersede,
}


def moves(exception: SecurityException, person: User, at: datetime) -> list[str]:
    """The transitions that the person may make now, in the order of a life."""
    if not _reaches(exception, person):
        return []
    return [name for name, permit in PERMITS.items() if _permits(permit, exception, person, at)]


def _permits(
    permit: Callable[[SecurityException, User, datetime], object],
    exception: SecurityException,
    person: User,
    at: datetime,
) -> bool:
    try:
        permit(exception, person, at)
    except ProoftrailError:
        return False
    return True
