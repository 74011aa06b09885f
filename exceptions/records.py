"""Numbers and retention of records about exceptions and risks."""

from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from evidence import retention
from evidence.models import Payload, Record


def next_number(prefix: str, kind: str) -> str:
    """``EXC-0001`` and so on. Under the head lock; rows of records outlive their payload, so none is used twice."""
    return f"{prefix}-{Record.objects.filter(kind=kind).count() + 1:04d}"


def keep_until_closed(indexes: QuerySet[Any], reference: datetime) -> None:
    """Let the retention of these records run from `reference` (a closing, or an expiry ahead). It only grows."""
    payloads = Payload.objects.filter(index__in=indexes)
    for name in payloads.order_by().values_list("retention_class", flat=True).distinct():
        until = retention.retain_until(name, reference)
        payloads.filter(retention_class=name, retain_until__lt=until).update(retain_until=until)
