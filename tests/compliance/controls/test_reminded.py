"""The control on reminders: a person was told before the expiry, whatever was posted elsewhere."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from compliance.controls.facts import Item
from compliance.controls.rules import reminded_before_expiry
from evidence.events import Event
from evidence.tlog.leaf import format_time

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
EXPIRY = BEGAN + timedelta(days=20)
ASKED = {
    "exception": "EXC-0001",
    "requirements": [],
    "owner": "usr_charlie",
    "effective_from": format_time(BEGAN),
    "expires_at": format_time(EXPIRY),
    "approvals_needed": 1,
}
BEFORE, AFTER = 13, 21


def event(index: int, kind: str, day: float, **more: Any) -> Event:
    at = BEGAN + timedelta(days=day)
    return Event(index, f"exception.{kind}", at, at, "usr_alice", scope=("sys_1",), **more)


def reminded(day: float, channel: str = "mail", outcome: str = "delivered") -> Event:
    return event(2, "reminded", day, outcome=outcome, facts={"channel": channel})


@pytest.mark.parametrize(
    ("reminders", "days", "status"),
    [
        ([reminded(BEFORE)], 30, "satisfied"),
        ([reminded(BEFORE, channel="chat")], 30, "missing"),
        ([reminded(BEFORE, outcome="failed")], 30, "missing"),
        ([reminded(AFTER)], 30, "late"),
        ([reminded(BEFORE, channel="chat"), reminded(AFTER)], 30, "late"),
        ([], 30, "missing"),
        ([], 10, "not due"),
    ],
)
def test_it_asks_whether_a_person_was_told_in_time(reminders: list[Event], days: int, status: str) -> None:
    events = [event(0, "requested", 0, facts=ASKED), event(1, "approved", 0), *reminders]
    verdict = reminded_before_expiry(Item("EXC-0001", events[0], events), {}, BEGAN + timedelta(days=days))
    assert verdict.status == status
