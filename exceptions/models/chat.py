"""Chat channels that hear of reminders. What is secret about one is kept sealed (`config.sealing`)."""

from collections.abc import Iterable

from django.contrib.postgres.fields import ArrayField
from django.db import models

from evidence.models.people import opaque_id

#: What begins the recipient of a reminder that goes to a channel.
CHAT = "chat:"


def new_channel_id() -> str:
    return opaque_id("chn")


class ChatChannel(models.Model):
    """An incoming webhook of a chat system. Every change of it is a `config.chat_channel` record."""

    id = models.CharField(primary_key=True, max_length=24, default=new_channel_id, editable=False)
    name = models.CharField(max_length=80, unique=True)
    #: Scheme, host and port of the URL: what may be shown and logged. The rest of it is as good as a password.
    origin = models.CharField(max_length=300)
    sealed_url = models.BinaryField()
    sealed_secret = models.BinaryField()
    systems = ArrayField(models.CharField(max_length=40), default=list, blank=True, help_text="Empty: all")
    is_active = models.BooleanField(default=True)
    changed_by = models.BigIntegerField(help_text="Index of the record that says so")
    last_delivered_at = models.DateTimeField(null=True)
    last_failed_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["name"]
        verbose_name = "chat channel"

    def __str__(self) -> str:
        return self.name

    @property
    def recipient(self) -> str:
        """As reminders, records and circuits name it."""
        return f"{CHAT}{self.pk}"

    def hears_of(self, systems: Iterable[str]) -> bool:
        """Whether it is told about an exception for these systems (opaque ids)."""
        return not self.systems or not set(self.systems).isdisjoint(systems)

    @property
    def is_failing(self) -> bool:
        """Whether the last post did not arrive."""
        last = self.last_delivered_at
        return self.last_failed_at is not None and (last is None or last < self.last_failed_at)
