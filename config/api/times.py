"""Times from outside: RFC 3339 with an offset; one without is refused."""

import re
from datetime import UTC, datetime

from config.errors import InvalidError

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)")


def parse_time(text: str, where: str) -> datetime:
    """An instant in UTC. Raises InvalidError ``time_invalid`` for no offset, a wrong form or an impossible date."""
    if not isinstance(text, str) or not _RFC3339.fullmatch(text):
        raise InvalidError(
            f"{text!r} is not an RFC 3339 time with offset, such as 2026-03-12T15:00:00Z.",
            code="time_invalid",
            where=where,
        )
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidError(f"{text!r} is not a possible time: {error}.", code="time_invalid", where=where) from None
