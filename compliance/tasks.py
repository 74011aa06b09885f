"""The worker's doors: each does what is due, races are settled by the functions they call."""

from celery import shared_task
from django.utils import timezone

from compliance import holds
from compliance.packs.tasks import build_pack, build_waiting_packs
from compliance.reports import sending
from compliance.retention import disposition


@shared_task(name="compliance.tasks.dispose")  # type: ignore[untyped-decorator]  # celery has no types
def dispose() -> None:
    """Daily: legal holds to the store first, then what is past its retention goes."""
    holds.hold_objects()
    disposition.dispose()


@shared_task(name="compliance.tasks.hold_objects")  # type: ignore[untyped-decorator]  # celery has no types
def hold_objects() -> None:
    """After a hold was placed or released."""
    holds.hold_objects()


@shared_task(name="compliance.tasks.send_due_reports")  # type: ignore[untyped-decorator]  # celery has no types
def send_due_reports() -> None:
    """Scheduled reports of the past month, and requested ones."""
    sending.send_due(timezone.now())


@shared_task(name="compliance.tasks.send_report")  # type: ignore[untyped-decorator]  # celery has no types
def send_report(report_id: str) -> None:
    """One report, right after it was asked for."""
    sending.send(report_id, now=timezone.now())


__all__ = ["build_pack", "build_waiting_packs", "dispose", "hold_objects", "send_due_reports", "send_report"]
