"""The Celery application. Tasks are thin doors: they carry ids and call the functions that the API calls."""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("prooftrail")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_init.connect(dispatch_uid="refuse_unfit")  # type: ignore[untyped-decorator]  # celery has no types
def refuse_unfit(**_: Any) -> None:
    """A worker starts only where the service itself would."""
    from config.fitness import refuse_to_start_unfit

    refuse_to_start_unfit()


@worker_init.connect(dispatch_uid="behind_who_waits")  # type: ignore[untyped-decorator]  # as above
def work_behind_who_waits(**_: Any) -> None:
    """On a machine that has too much to do, pipelines and people come first: nobody waits for the background.

    An anchor of a minute at full load took a core for seconds, and requests piled up meanwhile (docs/performance.md).
    """
    os.nice(10)
