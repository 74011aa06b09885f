"""Months as periods: ``2026-03`` is [1 March, 1 April) UTC."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from dateutil.relativedelta import relativedelta

from config.errors import InvalidError

_MONTH = re.compile(r"(20[0-9]{2})-(0[1-9]|1[0-2])")


@dataclass(frozen=True, order=True)
class Month:
    start: datetime

    @classmethod
    def parse(cls, text: str, *, now: datetime, where: str = "$.month") -> "Month":
        """Raises ``month_invalid`` for another form and for a month that has not begun."""
        match = _MONTH.fullmatch(text)
        if match is None:
            raise InvalidError(f"{text!r} is not a month such as 2026-03.", code="month_invalid", where=where)
        month = cls(datetime(int(match[1]), int(match[2]), 1, tzinfo=UTC))
        if month.start > now:
            raise InvalidError(f"{text} has not begun.", code="month_invalid", where=where)
        return month

    @classmethod
    def of(cls, moment: datetime) -> "Month":
        return cls(moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0))

    @property
    def end(self) -> datetime:
        return self.start + relativedelta(months=1)

    @property
    def previous(self) -> "Month":
        return Month(self.start - relativedelta(months=1))

    @property
    def next(self) -> "Month":
        return Month(self.end)

    @property
    def title(self) -> str:
        return f"{self.start:%B %Y}"

    def __str__(self) -> str:
        return f"{self.start:%Y-%m}"
