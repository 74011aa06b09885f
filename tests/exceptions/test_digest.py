"""Several reminders for one person are one mail; who is chased about many hears of some steps once a week."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.metrics.exposition import exposed
from config.metrics.families import of_ledger
from evidence import sign_offs
from evidence.ledger import Actor, reader
from evidence.models import Circuit, Record
from evidence.models.people import SERVICE
from evidence.people import change_user
from exceptions import delivery, mails, policy, reminders
from exceptions.models import Reminder
from tests.cast import Cast
from tests.exceptions.conftest import Request, in_days, round_at
from tests.smtp import Mailbox, content_of

LONG_AGO = {"effective_from": in_days(-25)}


def now() -> datetime:
    return datetime.now(UTC)


def reminded() -> list[dict[str, Any]]:
    rows = Record.objects.filter(kind="exception.reminded").order_by("index")
    return [reader.get(row.index).recorded.body for row in rows]


def test_it_tells_each_person_everything_in_one_mail(cast: Cast, approved: Request, smtp: Mailbox) -> None:
    expiring = approved(**LONG_AGO, expires_at=in_days(6), title="<b>Old</b> TLS")
    plain = approved(**LONG_AGO, expires_at=in_days(2.5), requirements=[], title="Shared account")
    assert round_at(now()) == 4
    assert smtp.to() == ["alice@example.com", "charlie@example.com"]
    message = smtp.messages[0]
    assert message["Subject"] == f"2 exceptions: the next expires {reminders.time_left(now(), plain.expires_at)}"
    text, html = content_of(message, "plain"), content_of(message, "html")
    for content in (text, html):
        assert content.index(plain.pk) < content.index(expiring.pk), "the soonest first"
        assert f"until {expiring.expires_at:%Y-%m-%d %H:%M:%S} UTC" in content
        assert "From then on the gate asks for dependency-alerts again." in content
        assert "From then on it no longer counts as accepted." in content
        assert f"http://testserver/admin/exceptions/securityexception/{plain.pk}/change/" in content
        assert "If still open, it goes to " in content
    assert "<b>Old</b> TLS" in text
    assert "&lt;b&gt;Old&lt;/b&gt; TLS" in html
    bodies = reminded()
    assert len(bodies) == 4
    assert {(body["digest"], body["outcome"], body["channel"]) for body in bodies} == {(2, "delivered", "mail")}
    assert {body["message"] for body in bodies} == {each["Message-ID"].strip() for each in smtp.messages}
    told = Record.objects.filter(kind="exception.reminded", facts__exception=plain.pk).order_by("index")[0]
    assert "with 1 more" in plain.transitions.get(index=told.index).reason

    items = [mails.Item(row, expiring) for row in Reminder.objects.filter(recipient=cast.alice.uid)]
    again = mails.message(items[::-1], cast.alice, now())
    mine = next(each for each in smtp.messages if each["To"] == cast.alice.email)
    assert again.extra_headers["Message-ID"] == mine["Message-ID"].strip(), "the same contents, the same id"


def test_it_lists_the_soonest_of_very_many(
    cast: Cast, approved: Request, smtp: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mails, "MOST_LISTED", 2)
    monkeypatch.setattr(delivery.REMINDERS, "most", 3)
    for _ in range(4):
        approved(**LONG_AGO, expires_at=in_days(6))
    assert round_at(now()) == 8
    assert len(smtp.messages) == 4  # three and one, for each of two
    text = content_of(smtp.messages[0], "plain")
    assert "And 1 more that expire later." in text
    assert "http://testserver/admin/exceptions/securityexception/?state=due" in text


def test_distant_steps_wait_for_the_weekly_digest_of_who_is_chased_about_many(
    cast: Cast, approved: Request, smtp: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = policy.load()
    few = dataclasses.replace(rules.reminders, digest=dataclasses.replace(rules.reminders.digest, above=2))
    monkeypatch.setattr(policy, "load", lambda: dataclasses.replace(rules, reminders=few))
    monday = now() + timedelta(days=35 - now().weekday())
    monday = monday.replace(hour=12, minute=0)
    tuesday = monday + timedelta(days=1)
    for _ in range(3):  # 14 days are left on that Tuesday; they were told at 30
        approved(expires_at=tuesday + timedelta(days=14), severity="low")
    alone = approved(expires_at=tuesday + timedelta(days=14), severity="low", owner="max@example.com", by=cast.lea)
    near = approved(expires_at=tuesday + timedelta(days=7), severity="low")
    first = tuesday - timedelta(days=10)
    assert round_at(first) == 2 * 5, "who hears of many for the first time hears of all at once"
    smtp.messages.clear()
    assert round_at(tuesday) == 2 + 2
    by_person = {message["To"]: message["Subject"] for message in smtp.messages}
    assert by_person.keys() == {f"{name}@example.com" for name in ("alice", "charlie", "max", "lea")}
    assert by_person["alice@example.com"].startswith(near.pk), "seven days before never wait"
    assert by_person["max@example.com"].startswith(alone.pk)
    assert Reminder.objects.waiting(tuesday).count() == 0
    smtp.messages.clear()
    assert round_at(tuesday + timedelta(days=5)) == 2, "three days before"
    smtp.messages.clear()
    assert round_at(monday + timedelta(days=7)) == 2 * (3 + 1)
    assert sorted(smtp.subjects()) == ["4 exceptions: the next expires tomorrow"] * 2
    assert {row.state for row in Reminder.objects.filter(threshold=14)} == {"delivered"}


def test_who_left_meanwhile_is_followed_by_the_next_above(cast: Cast, approved: Request, smtp: Mailbox) -> None:
    approved(**LONG_AGO, expires_at=in_days(6), owner="alice@example.com", by=cast.lea)
    approved(**LONG_AGO, expires_at=in_days(6))
    moment = now()
    reminders.plan(moment)
    for user in (cast.alice, cast.charlie):
        change_user(user, actor=Actor(SERVICE), is_active=False)
    round_at(moment)
    round_at(moment + timedelta(minutes=1))
    told = [(message["To"], message["Subject"][:8]) for message in smtp.messages]
    assert sorted(told) == [
        ("lea@example.com", "2 except"),  # the one that she requested; Charlie has no manager: the compliance team
        ("max@example.com", "EXC-0001"),  # Alice's manager
    ]
    assert {row.state for row in Reminder.objects.filter(recipient=cast.alice.uid)} == {"dropped"}
    for minute in range(2, 5):
        assert round_at(moment + timedelta(minutes=minute)) == 0


def test_a_worker_that_was_down_for_ten_days_catches_up_once(cast: Cast, approved: Request, smtp: Mailbox) -> None:
    approved(expires_at=in_days(20))
    approved(expires_at=in_days(28))
    early, late = in_days(12), in_days(22)
    reminders.plan(early)  # and here it stops, with a reminder of the first one in the outbox
    assert {row.threshold for row in Reminder.objects.all()} == {14}
    for minute in range(3):
        round_at(late + timedelta(minutes=minute))
    sent = [(body["exception"], body["threshold"]) for body in reminded() if body["outcome"] == "delivered"]
    assert sorted(sent) == [("EXC-0001", -1), ("EXC-0001", -1), ("EXC-0002", 7), ("EXC-0002", 7)]
    missed = [body for body in reminded() if body["outcome"] == "failed"]
    assert {(body["threshold"], body["attempts"]) for body in missed} == {(14, 0)}
    assert {body["error"] for body in missed} == {"not sent in its time"}
    assert len(missed) == 2
    assert smtp.to() == [f"{name}@example.com" for name in ("alice", "charlie", "lea")]  # Lea: Charlie has no manager


def test_an_hour_without_mail_server_loses_and_doubles_nothing(
    cast: Cast, approved: Request, smtp: Mailbox, settings: Any
) -> None:
    port, settings.EMAIL_PORT = settings.EMAIL_PORT, 1  # nobody listens there
    for _ in range(2):
        approved(**LONG_AGO, expires_at=in_days(6))
    moment, size = now(), reader.size()
    for minute in range(60):
        sign_offs.send_waiting(moment + timedelta(minutes=minute))  # has nothing to send: it asks nobody
        assert round_at(moment + timedelta(minutes=minute)) == 0
        if minute == 30:
            approved(expires_at=in_days(50))  # evidence is taken as ever
    assert Circuit.objects.get(pk="mail").failures == 6, "at 0, 1, 6, 21, 36 and 51 minutes"
    assert 'prooftrail_destination_failures{destination="mail"} 6' in exposed(of_ledger(now()))
    assert reader.size() == size + 2, "no record of what is still under way"
    settings.EMAIL_PORT = port
    assert round_at(moment + timedelta(minutes=60)) == 0
    assert round_at(moment + timedelta(minutes=66)) == 4
    assert round_at(moment + timedelta(minutes=67)) == 0
    assert smtp.to() == ["alice@example.com", "charlie@example.com"]
    assert sorted(body["attempts"] for body in reminded()) == [4, 4, 4, 4]
    assert Circuit.objects.get(pk="mail").failures == 0
