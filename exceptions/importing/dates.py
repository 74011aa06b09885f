"""What a cell says of a day. Nothing is guessed that could mean two days."""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from exceptions.importing.sheets import Cell, Kind

_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,6})?)?\s*(Z|[+-]\d\d:?\d\d)?)?")
_PARTS = re.compile(r"(\d{1,4})([./-])(\d{1,2})\2(\d{2,4})(?: 0?0:00(?::00)?)?")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMED = re.compile(r"(?:[a-z]+,? +)?(\d{1,2})(?:st|nd|rd|th)?[ -]([a-z]{3,9})\.?,?[ -](\d{2,4})", re.IGNORECASE)
_NAMED_FIRST = re.compile(r"([a-z]{3,9})\.? (\d{1,2})(?:st|nd|rd|th)?,? (\d{2,4})", re.IGNORECASE)
#: Serial numbers of 1954 to 2119: others are no dates but amounts.
_SERIALS = range(20_000, 80_000)
_LAST_YEAR = 2100

DAY_FIRST, MONTH_FIRST = "dmy", "mdy"


class BadDateError(Exception):
    """Why a cell is no day; the sentence is for who keeps the sheet."""


class Moment(NamedTuple):
    at: datetime
    #: It came as a bare number, which only dates in this column make one.
    serial: bool = False


def parse(cell: Cell, *, order: str | None, from_1904: bool = False, end: bool = False) -> Moment:
    """The moment that a cell names; a bare day means its beginning, or with `end` its last second, in UTC.

    `order` is DAY_FIRST, MONTH_FIRST or None where nobody said. Raises BadDateError.
    """
    if cell.kind in {Kind.ERROR, Kind.BOOLEAN}:
        raise BadDateError(f"{cell.text} is no date.")
    if not isinstance(cell.value, str):
        return _serial(cell.value, cell.kind is Kind.NUMBER, from_1904, end)
    text = " ".join(cell.text.split())
    if text.isascii() and text.isdigit() and len(text) == 5:
        return _serial(float(text), True, from_1904, end)
    return Moment(_checked(_text(text, order, end)))


def _serial(value: float, bare: bool, from_1904: bool, end: bool) -> Moment:
    if int(value) not in _SERIALS:
        raise BadDateError(f"{value:g} is no date: spreadsheets count days, and 45382 is 2024-03-31.")
    first = date(1904, 1, 1) if from_1904 else date(1899, 12, 30)
    day, seconds = first + timedelta(days=int(value)), round((value - int(value)) * 86400)
    if not seconds:
        return Moment(_checked(_whole(day, end)), bare)
    return Moment(_checked(datetime.combine(day, time(), UTC) + timedelta(seconds=seconds)), bare)


def _text(text: str, order: str | None, end: bool) -> datetime:
    if found := _ISO.fullmatch(text):
        return _iso(text, found, end)
    if found := _NAMED.fullmatch(text):
        return _whole(_day(_year(found[3]), _month(found[2]), int(found[1]), text), end)
    if found := _NAMED_FIRST.fullmatch(text):
        return _whole(_day(_year(found[3]), _month(found[1]), int(found[2]), text), end)
    if found := _PARTS.fullmatch(text):
        return _whole(_numeric(text, found, order), end)
    raise BadDateError(f"{text[:60]!r} is no date that can be read: write 2026-03-31.")


def _iso(text: str, found: re.Match[str], end: bool) -> datetime:
    day = _day(int(found[1]), int(found[2]), int(found[3]), text)
    if found[4] is None or (found[7] is None and (found[4], found[5], found[6] or "00") == ("00", "00", "00")):
        return _whole(day, end)  # exports of plain days have a midnight that nobody meant
    if found[7] is None:
        raise BadDateError(f"{text} is a time without its offset: write 2026-03-31, or 2026-03-31T18:00:00Z.")
    try:
        offset = "+00:00" if found[7] == "Z" else found[7]
        clock = f"{found[4]}:{found[5]}:{found[6] or '00'}"
        return datetime.strptime(f"{day}T{clock}{offset}", "%Y-%m-%dT%H:%M:%S%z").astimezone(UTC)
    except ValueError:
        raise BadDateError(f"{text} is no time of the day.") from None


def _numeric(text: str, found: re.Match[str], order: str | None) -> date:
    first, separator, second, third = found[1], found[2], int(found[3]), found[4]
    if len(first) == 4:
        return _day(int(first), second, int(third), text)
    year = _year(third)
    day_first, month_first = (int(first), second), (second, int(first))
    if separator == ".":
        order = DAY_FIRST  # nobody writes the month first with points
    if order is None:
        if int(first) <= 12 and second <= 12 and int(first) != second and second and int(first):
            one, other = _MONTHS[second - 1].title(), _MONTHS[min(int(first), 12) - 1].title()
            raise BadDateError(
                f"{text} may be {one} {int(first)} or {other} {second}: "
                "say in the mapping whether days or months come first."
            )
        order = MONTH_FIRST if second > 12 else DAY_FIRST
    day, month = day_first if order == DAY_FIRST else month_first
    return _day(year, month, day, text)


def _year(text: str) -> int:
    if len(text) != 4:
        raise BadDateError(f"The year {text} has {len(text)} digits: write all four.")
    return int(text)


def _month(name: str) -> int:
    try:
        return _MONTHS.index(name[:3].lower()) + 1
    except ValueError:
        raise BadDateError(f"{name} is no month.") from None


def _day(year: int, month: int, day: int, text: str) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        raise BadDateError(f"{text} is no day of the calendar.") from None


def _whole(day: date, end: bool) -> datetime:
    return datetime.combine(day, time(23, 59, 59) if end else time(), UTC)


def _checked(at: datetime) -> datetime:
    if not 1970 <= at.year <= _LAST_YEAR:
        raise BadDateError(f"{at:%Y-%m-%d} is not meant: years go from 1970 to {_LAST_YEAR}.")
    return at
