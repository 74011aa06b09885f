"""The worker's doors."""

from celery import shared_task
from django.utils import timezone

from exceptions import delivery, notices, reminders, risk_reminders
from exceptions.importing import jobs


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def remind() -> None:
    """Each beat: plan what is due, send what waits, record what is settled."""
    reminders.plan(timezone.now())
    delivery.send_waiting(timezone.now())
    delivery.record_settled()


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def notify() -> None:
    """Each beat: tell who may decide what was asked for, and who asked what was decided."""
    notices.plan(timezone.now())
    notices.send_waiting(timezone.now())
    notices.record_settled()


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def import_register(import_id: str) -> None:
    """One import, right after its file was sent."""
    jobs.run(import_id)


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def import_waiting() -> None:
    """Each beat: imports that a worker left or a broker lost."""
    jobs.run_waiting()


@shared_task  # type: ignore[untyped-decorator]  # celery has no types
def remind_of_reviews() -> None:
    """Each beat: remind of risks whose review is due."""
    risk_reminders.remind(timezone.now())
