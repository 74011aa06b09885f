"""Files that records refer to. Bytes live on S3 under Object Lock, deduplicated within a system only."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from evidence.models.people import System


class Artifact(models.Model):
    INCOMING, CHECKING, CONFIRMED, REFUSED = "incoming", "checking", "confirmed", "refused"
    STATES = [
        (INCOMING, "Waiting for its upload"),
        (CHECKING, "Being checked"),
        (CONFIRMED, "Confirmed"),
        (REFUSED, "Refused"),
    ]

    system = models.ForeignKey(System, on_delete=models.PROTECT, related_name="artifacts")
    sha256 = models.CharField(max_length=64)
    size = models.BigIntegerField()
    name = models.CharField(max_length=255)
    media_type = models.CharField(max_length=120)
    state = models.CharField(max_length=10, choices=STATES, default=INCOMING)
    refusal = models.CharField(max_length=200, blank=True)
    #: Where the confirmed bytes are; the version is the one that was read and locked.
    key = models.CharField(max_length=300)
    version_id = models.CharField(max_length=200, blank=True)
    retention_class = models.CharField(max_length=40)
    #: What records promise; only grows (trigger). `locked_until` is what S3 has confirmed.
    retain_until = models.DateTimeField()
    locked_until = models.DateTimeField(null=True)
    #: The kind of the record that will name it, and the exceptions that let secrets in it through, for that kind only.
    kind = models.CharField(max_length=60, blank=True, default="")
    waived_by = models.CharField(max_length=200, blank=True, default="")
    #: The store's id of an upload in parts, and the SHA-256 of each part in hex.
    upload_id = models.CharField(max_length=300, blank=True, default="")
    part_sha256 = ArrayField(models.CharField(max_length=64), default=list)
    #: Bytes that the worker has read.
    checked = models.BigIntegerField(default=0)
    #: When it was last announced, or when the worker last said that it is at it.
    tended_at = models.DateTimeField(null=True)
    created_by = models.CharField(max_length=40)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["system", "sha256"], name="artifact_once_per_system")]
        indexes = [
            # what the worker tends: lost checks, abandoned uploads
            models.Index(
                fields=["state", "tended_at"],
                name="artifact_unfinished",
                condition=models.Q(state__in=["incoming", "checking"]),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.sha256[:12]}"
