"""Reminders of reviews: to the owner when the date comes, later to who stands above. One per person and date.

`telling` sends them, one mail for each person and round, and appends a `risk.reminded` record for each. When they
go out, and to whom, is data (`policies/risks.yaml`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.admin.utils import quote
from django.db import transaction
from django.urls import reverse

from evidence.composing import Composed
from evidence.models import System, User
from exceptions import mails, risk_policy
from exceptions.models import ReviewReminder, Risk
from exceptions.risk_policy import Word
from exceptions.risks import keep
from exceptions.telling import NOT_NEEDED, Telling, settle, systems_of

_CHUNK = 1000


def remind(now: datetime) -> None:
    """One round: plan what is due, send what waits, record what is settled."""
    plan(now)
    REVIEWS.send_waiting(now)
    REVIEWS.record_settled()


# -- who is due --------------------------------------------------------------------------------------------------------


def plan(now: datetime) -> None:
    """Put every reminder that is due into the outbox, once: the unique constraint decides. All of them or none, so
    that whoever sends finds all that one person is to be told."""
    first = min(step.days for step in risk_policy.load().remind)
    due = Risk.objects.review_due((now - timedelta(days=first)).date()).order_by("pk")
    people, rows = _People(), list[ReviewReminder]()
    with transaction.atomic():
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


# -- the mail ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """One reminder and the risk that it is about, as the mail shows it."""

    reminder: ReviewReminder
    risk: Risk
    now: datetime

    @property
    def late(self) -> int:
        """In days; 0 on the day itself."""
        return max(0, (self.now.date() - self.reminder.review_by).days)

    @property
    def when(self) -> str:
        return f"{self.late} day{'s' * (self.late != 1)} overdue" if self.late else "due today"

    @property
    def likelihood(self) -> Word:
        return risk_policy.load().likelihood[self.risk.now_likelihood - 1]

    @property
    def impact(self) -> Word:
        return risk_policy.load().impact[self.risk.now_impact - 1]

    @property
    def judged(self) -> bool:
        """Whether the rating is the one after treatment."""
        return self.risk.residual_rating is not None

    @property
    def open_items(self) -> list[dict[str, str]]:
        return [item for item in self.risk.action_items if item["state"] == "open"]

    @property
    def view(self) -> str:
        return self._link("change")

    @property
    def review(self) -> str:
        return self._link("review")

    @property
    def step(self) -> str:
        return f"{self.risk.pk}.{self.reminder.review_by:%Y%m%d}"

    def _link(self, page: str) -> str:
        return f"{settings.PROOFTRAIL_URL}{reverse(f'admin:exceptions_risk_{page}', args=[quote(self.risk.pk)])}"


class _Reviews(Telling[Item]):
    """Who has left needs nobody asked again here: the next round finds the seat empty."""

    rows, kind = ReviewReminder, "risk.reminded"

    def retries(self) -> Sequence[timedelta]:
        return risk_policy.load().retries

    def needed(self, rows: Sequence[ReviewReminder], now: datetime) -> dict[int, Item]:
        """What was reviewed or closed meanwhile is not."""
        risks = Risk.objects.open().in_bulk({row.risk_id for row in rows})
        needed, ended = dict[int, Item](), list[ReviewReminder]()
        for row in rows:
            risk = risks.get(row.risk_id)
            if risk is None or risk.review_by != row.review_by:
                ended.append(row)
            else:
                needed[row.pk] = Item(row, risk, now)
        settle(ended, NOT_NEEDED, now)
        return needed

    def message(self, items: Sequence[Item], person: User, now: datetime) -> mails.Mail:
        if len(items) == 1:
            return _single(items[0], person)
        listed = sorted(items, key=lambda item: (-item.late, -item.risk.now_rating, item.risk.added_index))
        facts = {
            "person": person,
            "count": len(listed),
            "items": listed[: mails.MOST_LISTED],
            "more": len(listed) - mails.MOST_LISTED,
            "register": f"{settings.PROOFTRAIL_URL}{reverse('admin:exceptions_risk_changelist')}?review=due",
        }
        together = mails.told_together("reviews", person.uid, (item.step for item in items))
        return mails.mail("reviews", _headline(listed), facts, person, together)

    def about(self, row: ReviewReminder) -> Composed:
        return Composed({"risk": row.risk_id, "review_by": row.review_by.isoformat()}, systems_of(Risk, row.risk_id))

    def keep(self, index: int, at: datetime, composed: Composed) -> None:
        keep(composed.body["risk"], at)


REVIEWS = _Reviews()


def _single(item: Item, person: User) -> mails.Mail:
    facts = {
        "item": item,
        "risk": item.risk,
        "person": person,
        "owns": person.uid == item.risk.owner,
        "systems": ", ".join(System.objects.filter(pk__in=item.risk.systems).values_list("name", flat=True)),
    }
    subject = f"The review of {item.risk.pk} is {item.when}: {item.risk.title}"
    return mails.mail("review", subject, facts, person, f"review.{item.step}.{person.uid}")


def _headline(listed: Sequence[Item]) -> str:
    """``3 risks to review: 2 overdue, 1 due today``; the longest overdue comes first."""
    overdue = sum(item.late > 0 for item in listed)
    found = [f"{overdue} overdue"] if overdue else []
    if overdue < len(listed):
        found.append(f"{len(listed) - overdue} due today")
    return f"{len(listed)} risks to review: {', '.join(found)}"
