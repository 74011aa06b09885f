"""Sign-offs that a release still needs, and one mail to each person who can give one (R1.4, R1.5).

They are asked for when a manifest arrives, and once more when it was deployed in an emergency without them: then the
decision is due afterwards.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.admin.utils import quote
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.urls import reverse

from evidence import approvals, deploys, events, outbox, release_policy
from evidence.circuits import attempt_each
from evidence.deploys import Deployment
from evidence.events import BACKFILLED, Event, newest
from evidence.models import Approval, Record, Release, SignOff, SignOffRequest, User
from evidence.releases import author_of, deployers_of

#: What sign-offs are judged by.
KINDS = ("deploy.manifest", "approval")
_DEPLOYS = ("deploy.started", "deploy.finished")
#: Manifests and deploys that one round looks at: the newest ones.
ROUND = 200
#: What waited longer than this is nobody's news: a worker that stood still asks for the newest ones only.
ASK_WITHIN = timedelta(days=14)


@dataclass(frozen=True)
class Role:
    """A required role: who may sign in it, and what counts in it for the newest manifest."""

    role: str
    people: tuple[User, ...]
    decision: Approval | None
    #: An earlier manifest was approved in this role: that does not count any more.
    stale: bool

    @property
    def state(self) -> str:
        if self.decision is None:
            return "stale" if self.stale else "missing"
        return self.decision.decision


def needed(release: Release, known: Sequence[Event]) -> list[Role]:
    """Every role that the release needs, in the policy's order, by the events (`KINDS`) of the moment asked about.

    Who may sign is who may now.
    """
    roles = release_policy.load().roles(release.system.name)
    manifest = newest(known, "deploy.manifest")
    counting = {role: approvals.decision(known, role, manifest.digest) if manifest else None for role in roles}
    rows = Approval.objects.in_bulk([event.index for event in counting.values() if event])
    assigned = _assigned(release, roles)
    return [_role(role, known, rows, counting[role], assigned.get(role, [])) for role in roles]


def _role(
    role: str, known: Sequence[Event], rows: Mapping[int, Approval], counting: Event | None, people: Sequence[User]
) -> Role:
    decision = rows.get(counting.index) if counting else None
    earlier = approvals.standing(approvals.in_role(known, role))
    return Role(role, tuple(people), decision, bool(earlier) and decision is None)


def _assigned(release: Release, roles: Sequence[str]) -> dict[str, list[User]]:
    found: dict[str, list[User]] = {}
    rows = SignOff.objects.filter(system=release.system_id, role__in=roles, user__is_active=True)
    for row in rows.select_related("user").order_by("user__name"):
        found.setdefault(row.role, []).append(row.user)
    return found


# -- who is asked for what ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """Decisions about one manifest that are missing, by who could give them: in which roles."""

    digest: str
    #: The emergency deploy that owes them; None before any.
    deployment: Deployment | None
    by: Mapping[User, list[str]]

    @property
    def deployed(self) -> int | None:
        return self.deployment.index if self.deployment else None


def wanted(release: Release, known: Sequence[Event]) -> Iterator[Wanted]:
    """What is missing by the events (`KINDS` and deploys), and who could give it, each with the roles; nobody who may
    not, having written or deployed it."""
    missing = [role.role for role in needed(release, known) if role.decision is None]
    for run in deploys.deployments(known, deploys.PRODUCTION):
        roles = release_policy.load().roles(release.system.name)
        if run.digest is not None and deploys.is_emergency(known, run, roles):
            owed = deploys.owed(known, run, roles)
            missing = [role for role in missing if role not in owed or run.digest != release.manifest_digest]
            yield _wanted(release, known, run.digest, owed, run)
    if release.manifest_digest is not None:
        yield _wanted(release, known, release.manifest_digest, missing, None)


def _wanted(
    release: Release, known: Sequence[Event], digest: str, roles: Sequence[str], deployment: Deployment | None
) -> Wanted:
    barred = author_of(release, digest) | deployers_of(release) if roles else set()
    signed, by = _signed(known, digest), dict[User, list[str]]()
    for role, people in _assigned(release, roles).items():
        for person in people:
            if person.uid not in signed and barred.isdisjoint({person.uid, person.email.lower(), person.name.lower()}):
                by.setdefault(person, []).append(role)
    return Wanted(digest, deployment, by)


def _signed(known: Sequence[Event], digest: str) -> set[str]:
    """Who has decided about this manifest already: one person signs for one role."""
    roles = {str(event.facts.get("role")) for event in known if event.kind == "approval"}
    decided = [event for role in roles for event in approvals.standing(approvals.in_role(known, role))]
    return {event.by for event in decided if event.digest == digest}


def _known(release: Release) -> list[Event]:
    return events.of_release(release.pk, kinds=[*KINDS, *_DEPLOYS])


# -- the mail ----------------------------------------------------------------------------------------------------------


def plan(now: datetime) -> None:
    """Put a mail for everybody whose decision is missing into the outbox; the unique constraint keeps it at one.

    History that is loaded later asks nobody for anything.
    """
    recent = Record.objects.filter(kind__in=["deploy.manifest", *_DEPLOYS], at__gte=now - ASK_WITHIN)
    arrived = {row.index: row for row in recent.order_by("-index")[:ROUND] if row.at - row.occurred <= BACKFILLED}
    touched = Release.objects.filter(state="open", pk__in={row.release for row in arrived.values()})
    rows = [
        SignOffRequest(
            release=release.pk,
            manifest_digest=each.digest,
            deployment=each.deployed,
            recipient=person.uid,
            created_at=now,
            next_attempt_at=now,
        )
        for release in touched.select_related("system")
        for each in wanted(release, _known(release))
        if (each.deployed or release.manifest_index) in arrived
        for person in each.by
    ]
    SignOffRequest.objects.bulk_create(rows, ignore_conflicts=True, batch_size=1000)


def send_waiting(now: datetime) -> int:
    """Send what waits; returns how many went out. A mail server that is away ends the round, and is left to rest."""
    retries = release_policy.load().mail_retries

    def attempt(row: SignOffRequest) -> int:
        return outbox.send(row, functools.partial(_compose, row), now=now, retries=retries)

    waiting = SignOffRequest.objects.to_send(now).order_by("attempts", "id")
    return attempt_each(waiting, attempt, to=outbox.MAIL, now=now, pauses=retries)


def _still(row: SignOffRequest, release: Release) -> Wanted | None:
    """What the mail asks for, as it stands now."""
    for each in wanted(release, _known(release)):
        if (each.digest, each.deployed) == (row.manifest_digest, row.deployment):
            return each
    return None


def _compose(row: SignOffRequest) -> EmailMultiAlternatives | None:
    """The message; None when the sign-off is not missing any more."""
    release = Release.objects.filter(pk=row.release, state="open").select_related("system").first()
    person = User.objects.filter(uid=row.recipient, is_active=True).first()
    found = _still(row, release) if release is not None else None
    roles = found.by.get(person, []) if found is not None and person is not None else []
    if release is None or found is None or person is None or not roles:
        return None
    path = reverse("admin:evidence_release_approve", args=[quote(release.pk)])
    afterwards = found.deployment
    facts = {
        "release": release,
        "person": person,
        "digest": found.digest,
        "roles": " or ".join(roles),
        "link": f"{settings.PROOFTRAIL_URL}{path}" + (f"?manifest={found.digest}" if afterwards else ""),
        "deployment": afterwards,
        "due": afterwards.at + release_policy.load().retrospective if afterwards else None,
    }
    host = urlsplit(settings.PROOFTRAIL_URL).hostname or "localhost"
    headers = {"Message-ID": f"<signoff.{row.pk}@{host}>", "Auto-Submitted": "auto-generated"}
    waits = "was deployed without your approval" if afterwards else "waits for your sign-off"
    subject = f"{release.system.name} {release.tag} {waits} ({' or '.join(roles)})"
    text = render_to_string("evidence/mail/sign_off.txt", facts)
    message = EmailMultiAlternatives(subject, text, to=[person.email], headers=headers)
    message.attach_alternative(render_to_string("evidence/mail/sign_off.html", facts), "text/html")
    return message
