"""Dates from outside. A bare date means the whole day in UTC; a time without its offset is refused."""

import re
from datetime import UTC, date, datetime, time

from config.api import times
from config.errors import InvalidError

_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def parse_expiry(text: str, where: str = "$.expires_at") -> datetime:
    """An end: a bare date ends at 23:59:59 UTC. Raises InvalidError ``date_invalid``."""
    return _parse(text, time(23, 59, 59), where)


def parse_start(text: str, where: str = "$.effective_from") -> datetime:
    """A beginning: a bare date begins at 00:00:00 UTC. Raises InvalidError ``date_invalid``."""
    return _parse(text, time(0), where)


def _parse(text: str, day_time: time, where: str) -> datetime:
    try:
        if isinstance(text, str) and _DATE.fullmatch(text):
            return datetime.combine(date.fromisoformat(text), day_time, UTC)
        return times.parse_time(text, where)
    except (ValueError, InvalidError) as error:
        reason = error.detail if isinstance(error, InvalidError) else f"{text} is no date of the calendar: {error}."
        raise InvalidError(
            f"{reason} Send a date (2026-03-31) or a time with offset (2026-03-31T18:00:00Z).",
            code="date_invalid",
            where=where,
        ) from None
