"""What the database remembers of the outside copies, and whether writes are refused because of them."""

from django.db import models
from django.db.models.functions import Now


class Anchor(models.Model):
    """A checkpoint that was written to the bucket of anchors. Insert-only; see migration 0005."""

    size = models.BigIntegerField(primary_key=True)
    root = models.BinaryField()
    #: The anchor that was the newest when this one was published: a chain, so that a missing link shows.
    previous = models.BigIntegerField(null=True)
    key = models.CharField(max_length=200)
    version_id = models.CharField(max_length=200)
    published_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "evidence_anchor"


class Standing(models.Model):
    """One row: whether the service takes evidence. An empty code means it does."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    read_only_code = models.CharField(max_length=40, blank=True)
    read_only_reason = models.TextField(blank=True)
    since = models.DateTimeField(null=True)

    class Meta:
        db_table = "evidence_standing"
