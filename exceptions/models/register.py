"""Exceptions, their renewals, approvals and transitions: projections of `exception.*` records."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Self

from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Length

from evidence.models import Pipeline, User
from evidence.people import visible_systems
from exceptions import policy
from exceptions.models.risks import Risk
from exceptions.models.terms import CHASED, OPEN, Terms, in_state, standing
from exceptions.models.words import Words


class ExceptionQuerySet(models.QuerySet["SecurityException"]):
    def in_systems(self, systems: Iterable[str] | None) -> Self:
        """Exceptions for any of these systems (opaque ids); None means no restriction."""
        return self if systems is None else self.filter(systems__overlap=list(systems))

    def seen_by(self, principal: User | Pipeline) -> Self:
        """Those of the systems that somebody may see, and their own: who answers for one has to be able to act on it.

        A token that is limited to some systems leaves only these.
        """
        visible = visible_systems(principal)
        if visible is None or principal.limits.systems:
            return self.in_systems(visible)
        return self.filter(Q(systems__overlap=visible) | Q(owner=principal.uid) | Q(requester=principal.uid))

    def in_state(self, name: str, now: datetime) -> Self:
        """One of terms.STATES or terms.GROUPS, as it is now."""
        return self.filter(in_state(name, now))

    def was_in_state(self, name: str, when: datetime) -> Self:
        """The same as it was at `when`, by the times at which records were received."""
        return self.filter(standing(when, "transitions__"), in_state(name, when, "transitions__"))

    def active(self, now: datetime) -> Self:
        return self.in_state("active", now)

    def expired(self, now: datetime) -> Self:
        """Approved once, here or elsewhere, past their date and neither renewed nor closed."""
        return self.in_state("expired", now)

    def expiring(self, now: datetime, within: timedelta) -> Self:
        return self.active(now).filter(expires_at__lte=now + within)

    def open_at(self, when: datetime) -> Self:
        """Requested by then and not yet rejected, withdrawn, revoked or remediated: expired ones included."""
        return self.was_in_state("open", when)

    def open_during(self, start: datetime, end: datetime) -> Self:
        """Open at any time in [start, end)."""
        open_then = Transition.objects.filter(
            Q(until=None) | Q(until__gt=start), exception=models.OuterRef("pk"), at__lt=end, decision__in=OPEN
        )
        return self.filter(models.Exists(open_then))

    def chased(self) -> Self:
        """Approved ones, here or elsewhere: what somebody may have to act on before it ends."""
        return self.filter(decision__in=CHASED)

    def due_for_reminder(self, now: datetime) -> Self:
        """Near or past their expiry: those whose schedule may have reached a step."""
        reach = timedelta(days=max(policy.load().reminders.before_days, default=0) + 1)
        return self.chased().filter(expires_at__lte=now + reach)


class SecurityException(Terms):
    """R0.1. A requirement not met for a while, with somebody who answers for it."""

    id = models.CharField("number", primary_key=True, max_length=16)
    title = models.CharField(max_length=200)
    justification = models.TextField()
    # No constraint: the risk's rows may be disposed of before the exception's.
    risk = models.ForeignKey(
        Risk, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="exceptions"
    )
    compensating_controls = models.JSONField(default=list)
    requester = models.CharField(max_length=40, help_text="Opaque id")
    owner = models.CharField(max_length=40, help_text="Opaque id")
    owner_name = models.CharField(max_length=120)
    approvals_needed = models.SmallIntegerField(default=1)
    requested_at = models.DateTimeField()
    approved_at = models.DateTimeField(null=True)
    closed_at = models.DateTimeField(null=True)
    #: The number of the one that took its place.
    superseded_by = models.CharField(max_length=16, blank=True)
    original_expires_at = models.DateTimeField()
    #: Where the present term began: the effective date, or what a renewal continued.
    term_from = models.DateTimeField()
    renewals_made = models.SmallIntegerField(default=0)
    renewal_pending = models.BooleanField(default=False)
    #: Of an imported one: what the sheet called it, what the sheet claims, who imported it.
    reference = models.CharField(max_length=120, blank=True)
    claim = models.JSONField(null=True)
    imported_by = models.CharField(max_length=40, blank=True, help_text="Opaque id")
    requested_index = models.BigIntegerField(unique=True)
    last_index = models.BigIntegerField()

    objects = ExceptionQuerySet.as_manager()

    class Meta:
        ordering = ["-requested_index"]
        verbose_name = "exception"
        indexes = [
            models.Index(fields=["decision", "expires_at"], name="exception_due"),  # due_for_reminder, state filters
            models.Index(fields=["owner"], name="exception_owner"),  # GET exceptions?owner=
            models.Index(fields=["requester"], name="exception_requester"),  # seen_by, the list's "mine"
            # next_number, under the head lock
            models.Index(Length("id").desc(), F("id").desc(), name="exception_number"),
            GinIndex(fields=["systems"], name="exception_systems"),  # in_systems
            # searching the register: words, and names of requirements
            GinIndex(Words("title", "owner_name", "reference"), name="exception_words"),
            GinIndex(fields=["requirements"], name="exception_requirements"),
            # waiting.renewals
            models.Index(fields=["requested_at"], condition=Q(renewal_pending=True), name="exception_renewal_waits"),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.title}"

    @property
    def pending_renewal(self) -> "Renewal | None":
        return next((renewal for renewal in self.renewals.all() if renewal.state == Renewal.PENDING), None)

    @property
    def is_open(self) -> bool:
        return self.decision in OPEN


class Renewal(models.Model):
    """A request for more time. The dates it replaces stay."""

    PENDING, RENEWED, REFUSED, DROPPED = "pending", "renewed", "refused", "dropped"
    STATES = [
        (PENDING, "Waiting for approval"),
        (RENEWED, "Renewed"),
        (REFUSED, "Refused"),
        (DROPPED, "Closed before it was decided"),
    ]

    index = models.BigIntegerField(primary_key=True, help_text="Of the record that requested it")
    exception = models.ForeignKey(SecurityException, on_delete=models.CASCADE, related_name="renewals")
    state = models.CharField(max_length=8, choices=STATES, default=PENDING)
    previous_expires_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    reason = models.TextField()
    requested_by = models.CharField(max_length=40)
    requested_at = models.DateTimeField()
    approvals_needed = models.SmallIntegerField(default=1)
    decided_at = models.DateTimeField(null=True)
    decided_index = models.BigIntegerField(null=True)

    class Meta:
        ordering = ["index"]
        constraints = [
            models.UniqueConstraint(fields=["exception"], condition=Q(state="pending"), name="renewal_one_pending")
        ]

    def __str__(self) -> str:
        return f"{self.exception_id} until {self.expires_at:%Y-%m-%d}: {self.state}"

    @property
    def term_from(self) -> datetime:
        """Where the term that it asks for begins: what has run out meanwhile is no part of it."""
        return max(self.previous_expires_at, self.requested_at)


class ExceptionApproval(models.Model):
    """One person's yes, to an exception or to a renewal of it."""

    index = models.BigIntegerField(primary_key=True)
    exception = models.ForeignKey(SecurityException, on_delete=models.CASCADE, related_name="approvals")
    renewal = models.ForeignKey(Renewal, null=True, on_delete=models.CASCADE, related_name="approvals")
    person = models.CharField(max_length=40)
    role = models.CharField(max_length=20)
    #: Digest of what was approved (`exceptions.frozen`); records of older versions have none.
    terms = models.CharField(max_length=80, blank=True)
    at = models.DateTimeField()
    #: An amendment needs approval again: what was approved before no longer counts.
    standing = models.BooleanField(default=True)

    class Meta:
        ordering = ["index"]

    def __str__(self) -> str:
        return f"{self.exception_id} by {self.person}"


class Transition(Terms):
    """One record of an exception, and what applied from it until the next: as-of questions read these rows."""

    index = models.BigIntegerField(primary_key=True)
    exception = models.ForeignKey(SecurityException, on_delete=models.CASCADE, related_name="transitions")
    kind = models.CharField(max_length=60)
    at = models.DateTimeField()
    until = models.DateTimeField(null=True)
    by = models.CharField(max_length=40)
    reason = models.TextField(blank=True)

    class Meta:
        ordering = ["index"]
        indexes = [
            models.Index(fields=["exception", "at"], name="transition_as_of"),  # was_in_state, timeline
            # waivers: what was approved at a moment
            models.Index(fields=["decision", "at"], name="transition_decision"),
            # waiting: whose own words an exception has
            models.Index(fields=["by"], condition=Q(kind="exception.amended"), name="transition_amended"),
        ]

    def __str__(self) -> str:
        return f"{self.exception_id} {self.kind} #{self.index}"
