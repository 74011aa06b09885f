"""How much one process takes on at once, counted before a large body is read: a full service says so at once (R4.2)."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from config.errors import UnavailableError


class Places:
    """So many at once, and of these three quarters to one sender at most: who floods leaves room for the others."""

    def __init__(self, places: int) -> None:
        self._places, self._share = places, max(1, places * 3 // 4)
        self._taken: Counter[str] = Counter()
        self._all = 0
        self._lock = threading.Lock()

    @contextmanager
    def one(self, sender: str) -> Iterator[None]:
        """`enter`, and `leave` in the end."""
        self.enter(sender)
        try:
            yield
        finally:
            self.leave(sender)

    def enter(self, sender: str) -> None:
        """Take a place for the sender, known by what it sends as Authorization. Raises UnavailableError ``busy``."""
        with self._lock:
            if self._all >= self._places or self._taken[sender] >= self._share:
                raise UnavailableError("The service is busy. Retry with the same key.", code="busy")
            self._taken[sender] += 1
            self._all += 1

    def leave(self, sender: str) -> None:
        with self._lock:
            self._all -= 1
            self._taken[sender] -= 1
            if not self._taken[sender]:
                del self._taken[sender]


#: For records one by one, and for batches: fewer, since each keeps a core busy.
writes = Places(settings.MAX_REQUESTS_IN_FLIGHT)
batches = Places(settings.MAX_BATCHES_IN_FLIGHT)
