"""What can be searched about records, and holds on them: projections of the ledger."""

from collections.abc import Iterable
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models


class RecordQuerySet(models.QuerySet["Record"]):
    def in_systems(self, systems: Iterable[str] | None) -> Self:
        """Records of any of these systems (opaque ids); None means no restriction."""
        return self if systems is None else self.filter(scope__overlap=list(systems))

    def counting(self) -> Self:
        """Records that count: neither withdrawn nor disposed of."""
        return self.filter(withdrawn_by=None, disposed_by=None)


class Record(models.Model):
    """One row for each entry. The columns after `scope` are derived from the payload and go with it."""

    index = models.BigIntegerField(primary_key=True)
    kind = models.CharField(max_length=60)
    at = models.DateTimeField()
    occurred = models.DateTimeField()
    principal = models.CharField(max_length=40)
    scope = ArrayField(models.CharField(max_length=40))
    release = models.CharField(max_length=200, null=True)
    #: ``sha256:<hex>`` of each subject.
    subjects = ArrayField(models.CharField(max_length=150), default=list)
    outcome = models.CharField(max_length=20, null=True)
    #: The members of the body that the kind declares as facts.
    facts = models.JSONField(default=dict)
    signed_by = models.CharField(max_length=10, null=True)
    withdrawn_by = models.BigIntegerField(null=True)
    disposed_by = models.BigIntegerField(null=True)

    objects = RecordQuerySet.as_manager()

    class Meta:
        ordering = ["-index"]
        indexes = [
            models.Index(fields=["kind", "index"], name="record_kind"),  # GET records?kind=, populations
            models.Index(fields=["release", "index"], name="record_release"),  # timeline of a release
            models.Index(fields=["principal", "index"], name="record_principal"),  # GET records?principal=
            models.Index(fields=["occurred", "index"], name="record_happened"),  # GET records?from=&to=, periods
            models.Index(  # GET records?outcome=
                fields=["outcome", "index"], condition=models.Q(outcome__isnull=False), name="record_outcome"
            ),
            GinIndex(fields=["subjects"], name="record_subjects", fastupdate=False),  # evidence for a digest
            GinIndex(fields=["scope"], name="record_scope", fastupdate=False),  # everything of a system
        ]

    def __str__(self) -> str:
        return f"{self.kind} #{self.index}"


class Hold(models.Model):
    """A legal hold: what it names is not disposed of until it is released."""

    id = models.CharField(primary_key=True, max_length=40)
    placed_by = models.BigIntegerField(unique=True, help_text="Index of its hold.placed record")
    released_by = models.BigIntegerField(null=True, help_text="Index of its hold.released record")
    reason = models.TextField()
    #: Exactly one of these is set: one record, everything of a release, or everything of a system.
    record = models.BigIntegerField(null=True)
    release = models.CharField(max_length=200, null=True)
    system = models.CharField(max_length=40, null=True)

    class Meta:
        ordering = ["-placed_by"]

    def __str__(self) -> str:
        return self.id


class HoldItem(models.Model):
    """A record that a hold keeps. The payload's delete trigger looks here."""

    pk = models.CompositePrimaryKey("hold_id", "index")
    hold_id = models.CharField(max_length=40)
    index = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["index"], name="holditem_index")]  # the trigger's question
