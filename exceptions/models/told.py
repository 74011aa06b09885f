"""What people and chat channels are told of: outboxes of which each settled row becomes a record."""

from typing import Any, ClassVar, Self

from django.db import models

from evidence.outbox import DELIVERED, FAILED, Outgoing, OutgoingQuerySet
from exceptions.models.chat import CHAT


class ToldQuerySet(OutgoingQuerySet):
    def to_people(self) -> Self:
        return self.exclude(recipient__startswith=CHAT)

    def to_channels(self) -> Self:
        return self.filter(recipient__startswith=CHAT)

    def to_record(self) -> Self:
        """Settled ones whose record is not written yet."""
        return self.filter(state__in=[DELIVERED, FAILED], record_index=None)


class Told(Outgoing):
    """One thing told to one recipient: a person, or a chat channel (``chat:<id>``)."""

    #: Of the message that carried it, and how many rows that carried.
    message_id = models.CharField(max_length=200, blank=True)
    carried = models.IntegerField(default=1)
    record_index = models.BigIntegerField(null=True)

    objects: ClassVar[Any] = ToldQuerySet.as_manager()

    class Meta:
        abstract = True
