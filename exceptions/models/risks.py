"""The risk register (R0.1, R4.9): projections of `risk.*` records."""

from collections.abc import Iterable
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q


class RiskQuerySet(models.QuerySet["Risk"]):
    def in_systems(self, systems: Iterable[str] | None) -> Self:
        """Risks of any of these systems and of the whole company; None means no restriction."""
        return self if systems is None else self.filter(Q(systems__overlap=list(systems)) | Q(systems=[]))


class Risk(models.Model):
    """What may go wrong, what is done against it, and who answers for it."""

    STATUSES = [("open", "Open"), ("mitigating", "Being mitigated"), ("accepted", "Accepted"), ("closed", "Closed")]
    #: Likelihood times impact: from this value on it is called so.
    LEVELS = [(15, "critical"), (10, "high"), (5, "medium"), (1, "low")]

    id = models.CharField("number", primary_key=True, max_length=16)
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    likelihood = models.SmallIntegerField(help_text="1 rare to 5 almost certain")
    impact = models.SmallIntegerField(help_text="1 negligible to 5 severe")
    residual_likelihood = models.SmallIntegerField(null=True, help_text="After mitigation")
    residual_impact = models.SmallIntegerField(null=True, help_text="After mitigation")
    mitigation = models.TextField(blank=True)
    contingency = models.TextField(blank=True, help_text="What is done if it happens all the same")
    owner = models.CharField(max_length=40, help_text="Opaque id")
    owner_name = models.CharField(max_length=120)
    status = models.CharField(max_length=12, choices=STATUSES, default="open")
    systems = ArrayField(models.CharField(max_length=40), default=list)
    added_by = models.CharField(max_length=40, help_text="Opaque id")
    added_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    added_index = models.BigIntegerField(unique=True)
    last_index = models.BigIntegerField()

    objects = RiskQuerySet.as_manager()

    class Meta:
        ordering = ["-added_index"]

    def __str__(self) -> str:
        return f"{self.id} {self.title}"

    @property
    def rating(self) -> int:
        """Before mitigation: 1 to 25."""
        return self.likelihood * self.impact

    @property
    def residual_rating(self) -> int | None:
        """After mitigation, where it was judged."""
        if self.residual_likelihood is None or self.residual_impact is None:
            return None
        return self.residual_likelihood * self.residual_impact

    @classmethod
    def level(cls, rating: int) -> str:
        return next(name for least, name in cls.LEVELS if rating >= least)


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
