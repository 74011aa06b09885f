"""The worker's doors."""

from celery import shared_task
from django.utils import timezone

from exceptions import delivery, reminders


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def remind() -> None:
    """Each beat: plan what is due, send what waits, record what is settled."""
    reminders.plan(timezone.now())
    delivery.send_waiting(timezone.now())
    delivery.record_settled()
