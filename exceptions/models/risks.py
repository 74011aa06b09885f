"""The risk register (R0.1, R4.9): projections of `risk.*` records, the reminders' outbox and files on their way in."""

from collections.abc import Iterable
from datetime import date
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Case, F, Q, When
from django.db.models.functions import Length

from evidence.outbox import DELIVERED, FAILED, WAITING
from exceptions import risk_policy
from exceptions.models.told import Told


class RiskQuerySet(models.QuerySet["Risk"]):
    def in_systems(self, systems: Iterable[str] | None) -> Self:
        """Risks of any of these systems and of the whole company; None means no restriction."""
        return self if systems is None else self.filter(Q(systems__overlap=list(systems)) | Q(systems=[]))

    def open(self) -> Self:
        return self.exclude(status=Risk.CLOSED)

    def standing(self) -> Self:
        """With `now_likelihood`, `now_impact` and `now_rating`: after treatment where both are judged, else before."""
        judged = Q(residual_likelihood__isnull=False, residual_impact__isnull=False)
        likelihood = Case(When(judged, then=F("residual_likelihood")), default=F("likelihood"))
        impact = Case(When(judged, then=F("residual_impact")), default=F("impact"))
        found = self.alias(now_likelihood=likelihood, now_impact=impact)
        return found.alias(now_rating=F("now_likelihood") * F("now_impact"))

    def at_level(self, level: str) -> Self:
        """Those whose rating, as it stands, is called so. Raises InvalidError ``filter_invalid``."""
        first, above = risk_policy.load().span(level)
        return self.standing().filter(now_rating__gte=first, now_rating__lt=above)

    def in_cell(self, likelihood: int, impact: int) -> Self:
        """Open ones that stand at this cell of the heat map."""
        return self.open().standing().filter(now_likelihood=likelihood, now_impact=impact)

    def by_cell(self) -> dict[tuple[int, int], int]:
        """How many open ones stand at each likelihood and impact. One query."""
        placed = self.open().standing().order_by().annotate(row=F("now_likelihood"), column=F("now_impact"))
        groups = placed.values_list("row", "column").annotate(count=models.Count("pk"))
        return {(likelihood, impact): count for likelihood, impact, count in groups}

    def review_due(self, day: date) -> Self:
        """Open ones whose review was to be by `day`."""
        return self.open().filter(review_by__lte=day)

    def review_overdue(self, day: date) -> Self:
        """Open ones whose review was to be before `day`."""
        return self.open().filter(review_by__lt=day)


class Risk(models.Model):
    """What may go wrong, what is done against it, and who answers for it."""

    CLOSED = "closed"
    STATUSES = [("open", "Open"), ("mitigating", "Being mitigated"), ("accepted", "Accepted"), (CLOSED, "Closed")]

    id = models.CharField("number", primary_key=True, max_length=16)
    #: What another tool calls it.
    reference = models.CharField(max_length=120, blank=True)
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    cause = models.TextField(blank=True)
    consequence = models.TextField("impact in words", blank=True)
    likelihood = models.SmallIntegerField()
    impact = models.SmallIntegerField()
    residual_likelihood = models.SmallIntegerField(null=True)
    residual_impact = models.SmallIntegerField(null=True)
    mitigation = models.TextField(blank=True)
    contingency = models.TextField(blank=True)
    owner = models.CharField(max_length=40, help_text="Opaque id")
    owner_name = models.CharField(max_length=120)
    status = models.CharField(max_length=12, choices=STATUSES, default="open")
    systems = ArrayField(models.CharField(max_length=40), default=list)
    linked_exceptions = ArrayField(models.CharField(max_length=16), default=list)
    incidents = ArrayField(models.CharField(max_length=80), default=list)
    controls = ArrayField(models.CharField(max_length=60), default=list)
    #: ``{title, owner (opaque id), owner_name, state, due?}``
    action_items = models.JSONField(default=list)
    #: A review is due when this day begins (UTC); None for risks from before reviews had dates.
    review_by = models.DateField(null=True)
    reviewed_at = models.DateTimeField(null=True)
    reviewed_by = models.CharField(max_length=40, blank=True, help_text="Opaque id")
    added_by = models.CharField(max_length=40, help_text="Opaque id")
    added_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    added_index = models.BigIntegerField(unique=True)
    last_index = models.BigIntegerField()

    objects = RiskQuerySet.as_manager()

    class Meta:
        ordering = ["-added_index"]
        indexes = [
            # review_due, each beat
            models.Index(fields=["review_by"], condition=~Q(status="closed"), name="risk_review_due"),
            # next_risk, under the head lock
            models.Index(Length("id").desc(), F("id").desc(), name="risk_number"),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.title}"

    @property
    def is_open(self) -> bool:
        return self.status != self.CLOSED

    @property
    def rating(self) -> int:
        """Before treatment: 1 to 25."""
        return self.likelihood * self.impact

    @property
    def residual_rating(self) -> int | None:
        """After treatment, where it was judged."""
        if self.residual_likelihood is None or self.residual_impact is None:
            return None
        return self.residual_likelihood * self.residual_impact

    @property
    def now_likelihood(self) -> int:
        """As it stands: after treatment where that was judged, else before."""
        return int(self.residual_likelihood or 0) if self.residual_rating else self.likelihood

    @property
    def now_impact(self) -> int:
        return int(self.residual_impact or 0) if self.residual_rating else self.impact

    @property
    def now_rating(self) -> int:
        return self.now_likelihood * self.now_impact

    @property
    def level(self) -> str:
        """What the rating is called as it stands."""
        return risk_policy.load().level(self.now_rating)

    def review_is_overdue(self, day: date) -> bool:
        return self.is_open and self.review_by is not None and self.review_by < day


class RiskChange(models.Model):
    """One record of a risk."""

    index = models.BigIntegerField(primary_key=True)
    risk = models.ForeignKey(Risk, on_delete=models.CASCADE, related_name="changes")
    kind = models.CharField(max_length=60)
    at = models.DateTimeField()
    by = models.CharField(max_length=40)
    reason = models.TextField(blank=True)

    class Meta:
        ordering = ["index"]

    def __str__(self) -> str:
        return f"{self.risk_id} {self.kind} #{self.index}"


class ReviewReminder(Told):
    """What one person is told about one review's date. What came of it is a `risk.reminded` record."""

    risk_id = models.CharField(max_length=16)
    review_by = models.DateField()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["risk_id", "review_by", "recipient"], name="review_reminder_once")
        ]
        indexes = [
            # to_send and to_record, each beat
            models.Index(fields=["next_attempt_at"], condition=Q(state=WAITING), name="review_reminder_to_send"),
            models.Index(
                fields=["id"],
                condition=Q(state__in=[DELIVERED, FAILED], record_index=None),
                name="review_reminder_to_record",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.risk_id} {self.review_by} to {self.recipient}"


#: How far a file is.
IMPORT_STATES = [
    ("checked", "Dry run: nothing was recorded"),
    ("refused", "Refused: nothing was recorded"),
    ("running", "Being recorded"),
    ("done", "Imported"),
    ("failed", "Failed: nothing is shown of it"),
]


class RiskImport(models.Model):
    """One file on its way into the register: looked at, then recorded. `content` goes when nothing more comes of it."""

    CHECKED, REFUSED, RUNNING, DONE, FAILED = "checked", "refused", "running", "done", "failed"

    id = models.CharField(primary_key=True, max_length=24)
    created_by = models.CharField(max_length=40, help_text="Opaque id")
    created_at = models.DateTimeField()
    filename = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    content = models.BinaryField(null=True)
    #: What the person said of the file (`exchange.mapping.Wishes`).
    mapping = models.JSONField(default=dict)
    state = models.CharField(max_length=8, choices=IMPORT_STATES, default=CHECKED)
    started_at = models.DateTimeField(null=True)
    #: Counts, columns and rows, as `exchange.judging` tells them.
    outcome = models.JSONField(default=dict)
    record_index = models.BigIntegerField(null=True, help_text="Of import.completed")

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "risk import"
        constraints = [
            # One at a time: numbers and references are looked up before the first record, and shown after the last.
            models.UniqueConstraint(fields=["state"], condition=Q(state="running"), name="risk_import_one_running")
        ]

    def __str__(self) -> str:
        return f"{self.filename} ({self.id})"
