"""Releases and approvals: projections of `release.*`, `deploy.manifest` and `approval` records."""

from collections.abc import Iterable
from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models

from evidence.models.people import System


class ReleaseQuerySet(models.QuerySet["Release"]):
    def in_systems(self, systems: Iterable[str] | None) -> Self:
        """Releases of any of these systems (opaque ids); None means no restriction."""
        return self if systems is None else self.filter(system__in=list(systems))


class Release(models.Model):
    """R1.1, R1.11. `id` is ``<system name>:<tag>``."""

    id = models.CharField(primary_key=True, max_length=200)
    system = models.ForeignKey(System, on_delete=models.PROTECT, related_name="releases")
    tag = models.CharField(max_length=120)
    type = models.CharField(max_length=20)
    ticket_id = models.CharField(max_length=80)
    ticket_url = models.URLField(max_length=500)
    dashboards = models.JSONField(default=list)
    captain = models.CharField(max_length=120)
    commander = models.CharField(max_length=120, blank=True)
    surfaces = ArrayField(models.CharField(max_length=120), default=list)
    window_from = models.DateTimeField(null=True)
    window_to = models.DateTimeField(null=True)
    opened_by = models.BigIntegerField(unique=True, help_text="Index of its release.opened record")
    opened_at = models.DateTimeField()
    ended_by = models.BigIntegerField(null=True, help_text="Index of its release.closed or release.cancelled record")
    state = models.CharField(max_length=20, default="open")
    #: The newest deploy manifest: approvals of another digest are stale (R1.5).
    manifest_index = models.BigIntegerField(null=True)
    manifest_digest = models.CharField(max_length=80, null=True)
    manifest_author = models.CharField(max_length=120, null=True)

    objects = ReleaseQuerySet.as_manager()

    class Meta:
        ordering = ["-opened_by"]

    def __str__(self) -> str:
        return self.id


class Approval(models.Model):
    """R1.5. One row for each `approval` record; the newest of a person in a role counts."""

    DECISIONS = [("approved", "Approved"), ("rejected", "Rejected"), ("withdrawn", "Withdrawn")]

    index = models.BigIntegerField(primary_key=True)
    release = models.ForeignKey(Release, on_delete=models.PROTECT, related_name="approvals")
    role = models.CharField(max_length=40)
    decision = models.CharField(max_length=10, choices=DECISIONS)
    person = models.CharField(max_length=40, help_text="Opaque id")
    manifest_digest = models.CharField(max_length=80)
    comment = models.TextField(blank=True)
    at = models.DateTimeField()

    class Meta:
        ordering = ["index"]

    def __str__(self) -> str:
        return f"{self.role}: {self.decision}"

    @property
    def is_stale(self) -> bool:
        """Whether a newer manifest has replaced the one that was approved."""
        return self.manifest_digest != self.release.manifest_digest
