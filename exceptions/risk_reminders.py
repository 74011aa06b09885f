"""Reminders of reviews: to the owner when the date comes, later to who stands above. One per person and date.

What came of each is a `risk.reminded` record. When they go out, and to whom, is data (`policies/risks.yaml`).
"""

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.admin.utils import quote
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.urls import reverse

from config.errors import ConflictError, MissingError, ProoftrailError
from evidence import outbox
from evidence.circuits import attempt_each
from evidence.composing import Composed, append_composed
from evidence.ledger import Actor
from evidence.models import System, User
from evidence.models.people import SERVICE
from exceptions import risk_policy
from exceptions.models import ReviewReminder, Risk
from exceptions.risks import keep

logger = logging.getLogger(__name__)
_CHUNK = 1000


def remind(now: datetime) -> None:
    """One round: plan what is due, send what waits, record what is settled."""
    plan(now)
    send_waiting(now)
    record_settled()


# -- who is due --------------------------------------------------------------------------------------------------------


def plan(now: datetime) -> None:
    """Put every reminder that is due into the outbox, once: the unique constraint decides."""
    first = min(step.days for step in risk_policy.load().remind)
    due = Risk.objects.review_due((now - timedelta(days=first)).date()).order_by("pk")
    people, rows = _People(), list[ReviewReminder]()
    for risk in due.iterator(chunk_size=_CHUNK):
        waiting = {"risk_id": risk.pk, "review_by": risk.review_by, "created_at": now, "next_attempt_at": now}
        rows += [ReviewReminder(recipient=uid, **waiting) for uid in people.reminded(risk, now)]
        if len(rows) >= _CHUNK:
            ReviewReminder.objects.bulk_create(rows, ignore_conflicts=True)
            rows = []
    ReviewReminder.objects.bulk_create(rows, ignore_conflicts=True)


class _People:
    """Who stands behind the seats of the policy; asked once for a whole round."""

    def __init__(self) -> None:
        self._active: Mapping[str, User] = {user.uid: user for user in User.objects.filter(is_active=True)}
        self._managers = dict(User.objects.filter(manager__is_active=True).values_list("uid", "manager__uid"))
        self._liaisons = [user.uid for user in self._active.values() if "liaison" in user.roles]

    def reminded(self, risk: Risk, now: datetime) -> list[str]:
        """Everybody whose day has come, each once."""
        assert risk.review_by is not None  # of one that is due
        late = (now.date() - risk.review_by).days
        steps = sorted(risk_policy.load().remind, key=lambda step: step.days)
        found = [uid for step in steps if step.days <= late for uid in self._seat(step.to, risk)]
        return list(dict.fromkeys(found))

    def _seat(self, seat: str, risk: Risk) -> Iterable[str]:
        """An empty seat falls to the next above, at last to the liaisons."""
        if seat == "owner" and risk.owner in self._active:
            return [risk.owner]
        if seat != "liaisons" and risk.owner in self._managers:
            return [self._managers[risk.owner]]
        return self._liaisons


# -- sending -----------------------------------------------------------------------------------------------------------


def send_waiting(now: datetime) -> int:
    """Send what waits; returns how many went out. A mail server that is away is left to rest."""
    retries = risk_policy.load().retries

    def attempt(row: ReviewReminder) -> int:
        return outbox.send(row, functools.partial(compose, row, now), now=now, retries=retries)

    waiting = ReviewReminder.objects.to_send(now).order_by("attempts", "id")
    return attempt_each(waiting, attempt, to=outbox.MAIL, now=now, pauses=retries)


def compose(row: ReviewReminder, now: datetime) -> EmailMultiAlternatives | None:
    """The message; None when the risk was reviewed or closed meanwhile, or who would get it has left."""
    risk = Risk.objects.open().filter(pk=row.risk_id, review_by=row.review_by).first()
    person = User.objects.filter(uid=row.recipient, is_active=True).first()
    if risk is None or person is None:
        return None
    late = (now.date() - row.review_by).days
    when = "is due today" if late <= 0 else f"is {late} day{'s' * (late != 1)} overdue"
    scale = risk_policy.load()
    facts = {
        "risk": risk,
        "person": person,
        "owns": person.uid == risk.owner,
        "when": when,
        "due": row.review_by,
        "rating": risk.now_rating,
        "likelihood": scale.likelihood[risk.now_likelihood - 1],
        "impact": scale.impact[risk.now_impact - 1],
        "judged": risk.residual_rating is not None,
        "systems": ", ".join(System.objects.filter(pk__in=risk.systems).values_list("name", flat=True)),
        "open_items": [item for item in risk.action_items if item["state"] == "open"],
        "view": _link("change", risk),
        "review": _link("review", risk),
    }
    subject = " ".join(f"The review of {risk.id} {when}: {risk.title}".split())
    host = urlsplit(settings.PROOFTRAIL_URL).hostname or "localhost"
    step = f"{risk.id}.{row.review_by:%Y%m%d}.{person.uid}"
    headers = {"Message-ID": f"<review.{step}@{host}>", "Auto-Submitted": "auto-generated"}
    message = EmailMultiAlternatives(
        subject, render_to_string("exceptions/mail/review.txt", facts), to=[person.email], headers=headers
    )
    message.attach_alternative(render_to_string("exceptions/mail/review.html", facts), "text/html")
    return message


def _link(page: str, risk: Risk) -> str:
    return f"{settings.PROOFTRAIL_URL}{reverse(f'admin:exceptions_risk_{page}', args=[quote(risk.pk)])}"


# -- the record --------------------------------------------------------------------------------------------------------


def record_settled() -> int:
    """Append a record for each settled reminder that has none yet; returns how many."""
    return sum(_recorded(pk) for pk in _unrecorded())


def _unrecorded() -> Iterator[int]:
    settled = ReviewReminder.objects.filter(state__in=[outbox.DELIVERED, outbox.FAILED], record_index=None)
    yield from settled.order_by("id").values_list("pk", flat=True)


def _recorded(pk: int) -> bool:
    try:
        record(pk)
    except MissingError:
        ReviewReminder.objects.filter(pk=pk).update(state=outbox.DROPPED)  # disposed of: no record to add to
    except ProoftrailError as error:
        logger.warning("review reminder %s is not recorded yet: %s", pk, error)
    else:
        return True
    return False


def record(pk: int) -> None:
    """Append the outcome of one reminder. Raises ConflictError ``already_recorded``."""

    def compose_record(_: datetime) -> Composed:
        reminder = ReviewReminder.objects.get(pk=pk)
        if reminder.record_index is not None:
            raise ConflictError("This reminder is recorded already.", code="already_recorded")
        risk = Risk.objects.filter(pk=reminder.risk_id).first()
        if risk is None:
            raise MissingError(f"There is no risk {reminder.risk_id!r}.", code="risk_unknown")
        return Composed(_body(reminder), risk.systems)

    def apply(index: int, at: datetime, composed: Composed) -> None:
        ReviewReminder.objects.filter(pk=pk).update(record_index=index)
        keep(composed.body["risk"], at)

    append_composed("risk.reminded", compose_record, actor=Actor(SERVICE), apply=apply)


def _body(reminder: ReviewReminder) -> dict[str, object]:
    body: dict[str, object] = {
        "risk": reminder.risk_id,
        "review_by": reminder.review_by.isoformat(),
        "recipient": reminder.recipient,
        "channel": "mail",
        "outcome": reminder.state,
        "attempts": max(reminder.attempts, 1),
    }
    return body | ({"error": reminder.last_error} if reminder.last_error else {})
