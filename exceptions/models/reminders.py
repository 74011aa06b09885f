"""The reminders' outbox: working data of the worker. What came of each is an `exception.reminded` record."""

from datetime import datetime
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import Q

from evidence.outbox import DELIVERED, FAILED, WAITING
from exceptions.models.told import Told, ToldQuerySet


class ReminderQuerySet(ToldQuerySet):
    def waiting(self, now: datetime) -> Self:
        """Those that ought to be gone: not what is held for the weekly digest."""
        return self.filter(state=WAITING).exclude(attempts=0, next_attempt_at__gt=now)


class Reminder(Told):
    """What one recipient is told about one expiry at one step of the schedule."""

    exception_id = models.CharField(max_length=16)
    expires_at = models.DateTimeField()
    threshold = models.SmallIntegerField(help_text="Days before the expiry; negative once it is overdue")

    objects: ClassVar[Any] = ReminderQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["exception_id", "expires_at", "threshold", "recipient"], name="reminder_once"
            )
        ]
        indexes = [
            # to_send, each beat
            models.Index(fields=["next_attempt_at"], condition=Q(state=WAITING), name="reminder_to_send"),
            # to_record, each beat
            models.Index(
                fields=["id"],
                condition=Q(state__in=[DELIVERED, FAILED], record_index=None),
                name="reminder_to_record",
            ),
            # how many exceptions somebody was reminded of lately (`reminders.plan`)
            models.Index(fields=["recipient", "created_at"], name="reminder_of_recipient"),
        ]

    def __str__(self) -> str:
        return f"{self.exception_id} {self.threshold} to {self.recipient}"

    @property
    def was_held(self) -> bool:
        """Whether it was to wait for the weekly digest from the beginning."""
        return self.attempts == 0 and self.next_attempt_at > self.created_at
