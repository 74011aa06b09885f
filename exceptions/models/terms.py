"""What applies at a moment. State follows from dates: only what people decided is stored."""

from datetime import UTC, datetime, timedelta

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from config.errors import InvalidError
from exceptions import policy

SEVERITIES = [("critical", "Critical"), ("high", "High"), ("medium", "Medium"), ("low", "Low")]

REQUESTED, APPROVED = "requested", "approved"
#: Approved elsewhere, as an imported sheet says: reminded and reported, waiving nothing until it is ratified here.
CLAIMED = "claimed"
OPEN = (REQUESTED, CLAIMED, APPROVED)
#: What somebody may have to act on before it ends.
CHASED = (CLAIMED, APPROVED)
DECISIONS = [
    (REQUESTED, "Requested"),
    (CLAIMED, "Approved elsewhere (claim)"),
    (APPROVED, "Approved"),
    ("rejected", "Rejected"),
    ("withdrawn", "Withdrawn"),
    ("revoked", "Revoked"),
    ("remediated", "Remediated"),
    ("superseded", "Superseded"),
]
ENDED = tuple(name for name, _ in DECISIONS if name not in OPEN)
#: What `Terms.state` answers: decisions, with "approved" told apart by its dates.
STATES = (REQUESTED, CLAIMED, "scheduled", "active", "expired", *ENDED)
#: Questions that cut across states, and may be asked wherever a state may.
GROUPS = ("open", "due", "expiring")


class Terms(models.Model):
    """What applies from some record on: to what, how severe, from when until when."""

    decision = models.CharField(max_length=12, choices=DECISIONS, default=REQUESTED)
    severity = models.CharField(max_length=10, choices=SEVERITIES)
    systems = ArrayField(models.CharField(max_length=40))
    requirements = ArrayField(models.CharField(max_length=80), default=list)
    releases = ArrayField(models.CharField(max_length=200), default=list, help_text="SYSTEM:TAG; none means every one")
    effective_from = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        abstract = True

    def state(self, now: datetime) -> str:
        """One of STATES. An exception that expires at T is no longer active at T."""
        if self.decision not in CHASED:
            return self.decision
        if now >= self.expires_at:
            return "expired"
        if self.decision == CLAIMED:
            return CLAIMED
        return "active" if now >= self.effective_from else "scheduled"

    def is_expiring(self, now: datetime) -> bool:
        """Active, and within the policy's last days."""
        return self.state(now) == "active" and self.expires_at - now <= policy.load().expiring

    def days_left(self, now: datetime) -> int:
        """UTC calendar days until the expiry; negative once they are gone."""
        return days_between(now, self.expires_at)


def days_between(now: datetime, expires_at: datetime) -> int:
    """UTC calendar days from `now` to the last day an expiry covers."""
    last = (expires_at - timedelta(microseconds=1)).astimezone(UTC).date()
    return (last - now.astimezone(UTC).date()).days


def in_state(name: str, now: datetime, prefix: str = "") -> Q:
    """Rows of that state or group; `prefix` leads to other rows (``transitions__``). Raises ``state_unknown``."""
    approved = Q(**{f"{prefix}decision": APPROVED})
    chased = Q(**{f"{prefix}decision__in": CHASED})
    started = Q(**{f"{prefix}effective_from__lte": now})
    lasts = Q(**{f"{prefix}expires_at__gt": now})
    soon = Q(**{f"{prefix}expires_at__lte": now + policy.load().expiring})
    questions = {
        "open": Q(**{f"{prefix}decision__in": OPEN}),
        "due": chased & soon,
        "expiring": approved & started & lasts & soon,
        "scheduled": approved & ~started & lasts,
        "active": approved & started & lasts,
        "expired": chased & ~lasts,
        CLAIMED: Q(**{f"{prefix}decision": CLAIMED}) & lasts,
    }
    if name in questions:
        return questions[name]
    if name in (REQUESTED, *ENDED):
        return Q(**{f"{prefix}decision": name})
    raise InvalidError(
        f"There is no state {name!r}. States: {', '.join((*STATES, *GROUPS))}.", code="state_unknown", where="state"
    )


def standing(when: datetime, prefix: str = "") -> Q:
    """The transition that was the latest at `when`: at most one for each exception."""
    open_ended = Q(**{f"{prefix}until": None}) | Q(**{f"{prefix}until__gt": when})
    return Q(**{f"{prefix}at__lte": when}) & open_ended
