"""The reminders' outbox: working data of the worker. What came of each is an `exception.reminded` record."""

from datetime import datetime
from typing import Self

from django.db import models


class ReminderQuerySet(models.QuerySet["Reminder"]):
    def to_send(self, now: datetime) -> Self:
        """Waiting ones whose next attempt has come: a worker that died while sending is among them later."""
        return self.filter(state=Reminder.WAITING, next_attempt_at__lte=now)

    def to_record(self) -> Self:
        """Settled ones whose record is not written yet."""
        return self.filter(state__in=[Reminder.DELIVERED, Reminder.FAILED], record_index=None)


class Reminder(models.Model):
    """One message to one person about one expiry at one step of the schedule."""

    WAITING, DELIVERED, FAILED, DROPPED = "waiting", "delivered", "failed", "dropped"
    STATES = [
        (WAITING, "Waiting"),
        (DELIVERED, "Delivered"),
        (FAILED, "Failed"),
        (DROPPED, "Overtaken by a later step, a renewal or the closing"),
    ]

    exception_id = models.CharField(max_length=16)
    expires_at = models.DateTimeField()
    threshold = models.SmallIntegerField(help_text="Days before the expiry; negative once it is overdue")
    recipient = models.CharField(max_length=40, help_text="Opaque id")
    state = models.CharField(max_length=10, choices=STATES, default=WAITING)
    attempts = models.SmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField()
    last_error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    record_index = models.BigIntegerField(null=True)

    objects = ReminderQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["exception_id", "expires_at", "threshold", "recipient"], name="reminder_once"
            )
        ]
        indexes = [
            # to_send, each beat
            models.Index(fields=["next_attempt_at"], condition=models.Q(state="waiting"), name="reminder_to_send"),
        ]

    def __str__(self) -> str:
        return f"{self.exception_id} {self.threshold} to {self.recipient}"
