"""Numbers and retention of records about exceptions and risks."""

from datetime import datetime
from typing import Any

from django.db.models import F, QuerySet
from django.db.models.functions import Length

from evidence import retention
from evidence.models import Payload, Record
from exceptions.models import SecurityException


def next_number(prefix: str, kind: str, *, last: int = 0) -> str:
    """``EXC-0001`` and so on. Under the head lock; rows of records outlive their payload, so none is used twice."""
    return numbered(prefix, max(Record.objects.filter(kind=kind).count(), last) + 1)


def numbered(prefix: str, number: int) -> str:
    return f"{prefix}-{number:04d}"


def last_exception() -> int:
    """The highest number that an exception has or that an import holds for one: what it does not use stays free."""
    newest = SecurityException.objects.order_by(Length("id").desc(), F("id").desc()).values_list("pk", flat=True)[:1]
    visible = next((int(number.partition("-")[2]) for number in newest), 0)
    held = Record.objects.filter(kind="register.import_started").order_by("-index").values_list("facts", flat=True)
    facts: dict[str, int] = next(iter(held[:1]), {})
    return max(visible, facts["first"] + facts["count"] - 1 if facts else 0)


def next_exception() -> str:
    return next_number("EXC", "exception.requested", last=last_exception())


def keep_until_closed(indexes: QuerySet[Any], reference: datetime) -> None:
    """Let the retention of these records run from `reference` (a closing, or an expiry ahead). It only grows."""
    payloads = Payload.objects.filter(index__in=indexes)
    for name in payloads.order_by().values_list("retention_class", flat=True).distinct():
        until = retention.retain_until(name, reference)
        payloads.filter(retention_class=name, retain_until__lt=until).update(retain_until=until)
