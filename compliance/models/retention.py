"""What is left to do at the object store. Not projections: each row is a durable to-do beside its record."""

from typing import Self

from django.db import models


class ErasureQuerySet(models.QuerySet["ObjectErasure"]):
    def waiting(self) -> Self:
        """Object versions that a record disposed of and the store still has to delete."""
        return self.filter(erased_by=None).order_by("pk")


class ObjectErasure(models.Model):
    """An object version that was disposed of. Written with its record; done once `erased_by` names the next one."""

    key = models.CharField(max_length=300)
    version_id = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    system = models.CharField(max_length=40)
    disposed_by = models.BigIntegerField(help_text="Index of its retention.disposed record")
    erased_by = models.BigIntegerField(null=True, help_text="Index of its retention.erased record")
    attempts = models.IntegerField(default=0)
    error = models.CharField(max_length=300, blank=True)

    objects = ErasureQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "version_id"], name="erasure_once_per_version")]
        indexes = [models.Index(fields=["erased_by"], name="erasure_waiting")]  # what is still to do

    def __str__(self) -> str:
        return self.key


class HeldObject(models.Model):
    """An object version that carries a legal hold at the store, as the store has confirmed."""

    key = models.CharField(max_length=300)
    version_id = models.CharField(max_length=200)
    since = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "version_id"], name="held_once_per_version")]

    def __str__(self) -> str:
        return self.key
