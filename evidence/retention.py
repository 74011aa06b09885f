"""Retention classes: how long what is kept (R1.12, R2.5). Calendar arithmetic, `now` always passed in."""

import functools
import re
from datetime import datetime
from typing import Any

import yaml
from dateutil.relativedelta import relativedelta

from config.errors import InvalidError
from evidence.kinds import yaml_files

_PERIOD = re.compile(r"P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")


def parse_period(text: str) -> relativedelta:
    """An ISO 8601 duration as a calendar period: ``P13M``, ``P7Y``, ``PT1M``. Raises ValueError."""
    match = _PERIOD.fullmatch(text)
    if match is None or text in {"P", "PT"} or text.endswith("T"):
        raise ValueError(f"{text!r} is not an ISO 8601 period such as P13M or P7Y")
    years, months, days, hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return relativedelta(years=years, months=months, days=days, hours=hours, minutes=minutes, seconds=seconds)


@functools.cache
def classes() -> dict[str, dict[str, Any]]:
    """All retention classes by name: ``{title, period}``."""
    found: dict[str, dict[str, Any]] = {}
    for path in yaml_files("policies"):
        if path.name == "retention.yaml":
            found.update(yaml.safe_load(path.read_text()))
    return found


def retain_until(retention_class: str, received: datetime) -> datetime:
    """The end of retention for something received then; the day is clamped (31 January + P13M is 28 February)."""
    try:
        period = classes()[retention_class]["period"]
    except KeyError:
        raise InvalidError(f"There is no retention class {retention_class!r}.", code="retention_unknown") from None
    return received + parse_period(period)
