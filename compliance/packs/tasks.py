"""The worker's doors to packs. Enqueued on commit; the sweep finds what a broker outage lost."""

from celery import shared_task

from compliance.packs import worker


@shared_task(name="compliance.tasks.build_waiting_packs")  # type: ignore[untyped-decorator]  # celery has no types
def build_waiting_packs() -> None:
    """Packs that were asked for and that nobody builds."""
    worker.build_waiting()


@shared_task(name="compliance.tasks.build_pack")  # type: ignore[untyped-decorator]  # celery has no types
def build_pack(pack_id: str) -> None:
    """One pack, right after it was asked for."""
    worker.build_pack(pack_id)
