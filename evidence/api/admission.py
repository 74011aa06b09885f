"""How much one process takes on at once, counted before a body is read: a full service says so at once (R4.2)."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from config.errors import UnavailableError

_writes = threading.Semaphore(settings.MAX_REQUESTS_IN_FLIGHT)
_batches = threading.Semaphore(settings.MAX_BATCHES_IN_FLIGHT)


@contextmanager
def write_admitted() -> Iterator[None]:
    """A place for one record. Raises UnavailableError ``busy``."""
    with _place(_writes):
        yield


@contextmanager
def batch_admitted() -> Iterator[None]:
    """A place for one batch: fewer, since each keeps a core busy. Raises UnavailableError ``busy``."""
    with _place(_batches):
        yield


@contextmanager
def _place(places: threading.Semaphore) -> Iterator[None]:
    if not places.acquire(blocking=False):
        raise UnavailableError("The service is busy. Retry with the same key.", code="busy")
    try:
        yield
    finally:
        places.release()
