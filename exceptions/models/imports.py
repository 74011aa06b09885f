"""Imports of spreadsheets: working data of who imports and of the worker. What came of one stands in the ledger."""

from datetime import datetime
from typing import Self

from django.db import models


class ImportQuerySet(models.QuerySet["Import"]):
    def waiting(self, now: datetime) -> Self:
        """Those that nobody works on: just sent, or left by a worker that died."""
        idle = models.Q(state=Import.WAITING) | models.Q(state=Import.RUNNING, claimed_until__lte=now)
        return self.filter(idle).order_by("created_at")


class Import(models.Model):
    """One file on its way into the register. `content` goes when nothing more can come of it."""

    WAITING, RUNNING, CHECKED, REFUSED, DONE, FAILED = "waiting", "running", "checked", "refused", "done", "failed"
    STATES = [
        (WAITING, "Waiting for a worker"),
        (RUNNING, "Running"),
        (CHECKED, "Dry run: nothing was recorded"),
        (REFUSED, "Refused: nothing was recorded"),
        (DONE, "Imported"),
        (FAILED, "Failed: nothing is shown of it"),
    ]

    id = models.CharField(primary_key=True, max_length=24)
    created_by = models.CharField(max_length=40, help_text="Opaque id")
    created_at = models.DateTimeField()
    filename = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    content = models.BinaryField(null=True)
    #: What the person said of the file (`importing.mapping.Wishes`).
    mapping = models.JSONField(default=dict)
    only_good = models.BooleanField(default=False)
    dry_run = models.BooleanField(default=True)
    state = models.CharField(max_length=8, choices=STATES, default=WAITING)
    claim = models.CharField(max_length=32, blank=True)
    claimed_until = models.DateTimeField(null=True)
    #: Rows recorded, of how many.
    done = models.IntegerField(default=0)
    total = models.IntegerField(default=0)
    #: Counts, headings, notes; `fates` are the rows as compressed JSON.
    summary = models.JSONField(default=dict)
    fates = models.BinaryField(null=True)
    error = models.JSONField(null=True)
    record_index = models.BigIntegerField(null=True, help_text="Of import.completed")

    objects = ImportQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name = "import"
        constraints = [
            # One at a time: references are looked up before the first record, and shown after the last.
            models.UniqueConstraint(
                fields=["state"], condition=models.Q(state="running", dry_run=False), name="import_one_running"
            )
        ]

    def __str__(self) -> str:
        return f"{self.filename} ({self.id})"

    @property
    def is_settled(self) -> bool:
        return self.state not in {self.WAITING, self.RUNNING}


class ImportMapping(models.Model):
    """What was said of a file with these headings, for the next one."""

    signature = models.CharField(primary_key=True, max_length=64)
    mapping = models.JSONField()
    saved_by = models.CharField(max_length=40, help_text="Opaque id")
    saved_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.signature
