"""Who is told of what was asked for and decided: working data of the worker. Each outcome is an `exception.notified`
record."""

from django.db import models
from django.db.models import Q

from evidence.outbox import DELIVERED, FAILED, WAITING
from exceptions.models.told import Told


class Announcement(models.Model):
    """A record that somebody is to be told of, written with it. Whom, is asked when the ledger's head is free again."""

    index = models.BigIntegerField(primary_key=True)

    class Meta:
        ordering = ["index"]

    def __str__(self) -> str:
        return f"#{self.index}"


class Notice(Told):
    """One record of an exception, told to one person."""

    index = models.BigIntegerField(help_text="Of the record that it tells of")
    exception_id = models.CharField(max_length=16)
    #: Whether the person is asked to decide; else told what was decided.
    asked = models.BooleanField()

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["index", "recipient"], name="notice_once")]
        indexes = [
            # to_send and to_record, each beat
            models.Index(fields=["next_attempt_at"], condition=Q(state=WAITING), name="notice_to_send"),
            models.Index(
                fields=["id"],
                condition=Q(state__in=[DELIVERED, FAILED], record_index=None),
                name="notice_to_record",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.exception_id} #{self.index} to {self.recipient}"
