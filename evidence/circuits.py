"""Circuit breakers (R4.3): a destination that is away costs one attempt per pause, however much waits for it.

closed     it answered last: everything is sent
open       it did not, `failures` times in a row: nothing is tried before `retry_at`
half-open  from then on one worker tries one message; if that arrives the circuit closes, else the next pause is longer

The state is kept in the database, which is where what waits is kept too: without it nothing would be sent anyway.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from evidence.models import Circuit
from evidence.outbox import LONGEST_PAUSE

logger = logging.getLogger(__name__)
Item = TypeVar("Item")


def attempt_each(
    items: Iterable[Item],
    attempt: Callable[[Item], int],
    *,
    to: str,
    now: datetime,
    pauses: Sequence[timedelta],
) -> int:
    """Make the attempts until one raises OSError, which says that the destination is away; none while it rests.

    What was tried least should come first: a message at which the destination breaks off would else stand before all
    others. `attempt` answers how many were delivered, 0 where that says nothing about the destination. Returns the sum.
    """
    circuit = Circuit.objects.filter(destination=to, failures__gt=0).first()
    delivered, until = 0, None
    for item in items:
        if circuit is not None and until is None:  # only who has something to send asks whether it is back
            until = _probe(circuit, now, pauses)
            if until is None:
                return 0
        try:
            count = attempt(item)
        except OSError as error:
            _failed(to, error, now=now, pauses=pauses)
            return delivered
        if count and circuit is not None:
            succeeded(to)
            circuit = None
        delivered += count
    if circuit is not None and until is not None:  # nothing was learned: the next may ask
        Circuit.objects.filter(pk=to, retry_at=until).update(retry_at=now)
    return delivered


def pause_after(failures: int, pauses: Sequence[timedelta]) -> timedelta:
    return min(pauses[min(failures, len(pauses)) - 1], LONGEST_PAUSE)


def _probe(circuit: Circuit, now: datetime, pauses: Sequence[timedelta]) -> datetime | None:
    """Until when nobody else asks, where the pause is over and we do: of two workers one changes the row."""
    if circuit.retry_at > now:
        return None
    until = now + pause_after(circuit.failures, pauses)
    mine = Circuit.objects.filter(pk=circuit.pk, failures=circuit.failures, retry_at=circuit.retry_at)
    return until if mine.update(retry_at=until) else None


def _failed(to: str, error: OSError, *, now: datetime, pauses: Sequence[timedelta]) -> None:
    text = f"{type(error).__name__}: {error}"[:500]
    fresh = {"failures": 0, "retry_at": now, "last_error": text}
    circuit, _ = Circuit.objects.get_or_create(destination=to, defaults=fresh)
    failures = circuit.failures + 1
    until = now + pause_after(failures, pauses)
    counted = Circuit.objects.filter(pk=to, failures=circuit.failures)
    counted.update(failures=failures, retry_at=until, last_error=text)
    logger.warning("%s is away, asked again at %s: %s", to, until, text)


def succeeded(to: str) -> None:
    """It answered: everything may go there again."""
    if Circuit.objects.filter(pk=to, failures__gt=0).update(failures=0):
        logger.info("%s answers again", to)
