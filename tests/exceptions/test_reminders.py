"""Reminders end to end: planned once, mailed by SMTP, retried, recorded."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django.test import Client

from evidence import outbox
from evidence.ledger import Actor, reader
from evidence.models import Record
from evidence.models.people import SERVICE
from evidence.outbox import DROPPED, FAILED, WAITING
from evidence.people import change_user
from exceptions import delivery, lifecycle, policy, reminders
from exceptions.models import Reminder
from exceptions.tasks import remind
from tests.cast import PASSWORD, Cast
from tests.exceptions.conftest import Request, actor, in_days, round_at
from tests.smtp import Mailbox, content_of

LONG_AGO = {"effective_from": in_days(-25)}


def now() -> datetime:
    return datetime.now(UTC)


def test_it_mails_owner_and_requester_once_and_records_it(cast: Cast, approved: Request, smtp: Mailbox) -> None:
    found = approved(**LONG_AGO, expires_at=in_days(6))
    for _ in range(3):
        remind()
    assert smtp.to() == ["alice@example.com", "charlie@example.com"]
    message = smtp.messages[0]
    assert message["Subject"] == "EXC-0001 expires in 6 days: Old TLS on the partner gateway"
    text, html = content_of(message, "plain"), content_of(message, "html")
    for content in (text, html):
        assert f"{found.expires_at:%Y-%m-%d %H:%M:%S} UTC" in content
        assert "in 6 days" in content
        for verb in ("renew", "remediate", "revoke"):
            assert f"http://testserver/admin/exceptions/securityexception/EXC-0001/{verb}/" in content
    records = Record.objects.filter(kind="exception.reminded")
    assert {(row.outcome, row.principal) for row in records} == {("delivered", SERVICE)}
    bodies = [reader.get(row.index).recorded.body for row in records]
    assert {body["recipient"] for body in bodies} == {cast.alice.uid, cast.charlie.uid}
    assert {body["threshold"] for body in bodies} == {7}
    assert found.transitions.filter(kind="exception.reminded").count() == 2


def test_it_changes_nothing_when_a_scanner_follows_the_links(cast: Cast, approved: Request, smtp: Mailbox) -> None:
    approved(**LONG_AGO, expires_at=in_days(6))
    remind()
    size = reader.size()
    links = re.findall(r"http://testserver(/\S+)", content_of(smtp.messages[0], "plain"))
    person = Client()
    person.login(email="lea@example.com", password=PASSWORD)
    assert len(links) == 4
    for link in links:
        assert Client().get(link).status_code == 302
        assert person.get(link).status_code == 200
    assert reader.size() == size


def test_it_sends_only_the_latest_step_after_missed_beats(cast: Cast, approved: Request, smtp: Mailbox) -> None:
    approved(expires_at=in_days(40))
    later = in_days(38)  # 30, 14, 7 and 3 days before went by unseen
    reminders.plan(later)
    delivery.send_waiting(later)
    assert {row.threshold for row in Reminder.objects.all()} == {3}
    assert len(smtp.messages) == 2


def test_it_reminds_of_nothing_that_is_not_in_force(
    cast: Cast, approved: Request, request_one: Request, smtp: Mailbox
) -> None:
    request_one(**LONG_AGO, expires_at=in_days(6))
    closed = approved(**LONG_AGO, expires_at=in_days(6))
    lifecycle.remediate(actor=actor(cast.alice), exception=closed.id, reason="Done")
    approved(expires_at=in_days(6))  # its term is shorter than the next step
    reminders.plan(now())
    assert not Reminder.objects.exists()


def test_it_escalates_to_the_manager_then_to_executives(cast: Cast, approved: Request, smtp: Mailbox) -> None:
    found = approved(owner="alice@example.com", expires_at=in_days(20), by=cast.lea)
    for days in (1, 7, 14):
        moment = found.expires_at + timedelta(days=days)
        round_at(moment)
    sent = {
        threshold: set(Reminder.objects.filter(threshold=threshold).values_list("recipient", flat=True))
        for threshold in (-1, -7, -14)
    }
    assert sent[-1] == sent[-7] == sent[-14] == {cast.alice.uid, cast.max.uid}  # Max is manager and executive
    assert "is 14 days overdue" in smtp.messages[-1]["Subject"]


def test_it_falls_to_the_liaisons_when_nobody_else_is_there(cast: Cast, approved: Request, smtp: Mailbox) -> None:
    found = approved(expires_at=in_days(20))  # Charlie has no manager
    change_user(cast.charlie, actor=Actor(SERVICE), is_active=False)
    reminders.plan(found.expires_at + timedelta(days=1))
    assert list(Reminder.objects.values_list("recipient", flat=True)) == [cast.lea.uid]


def test_it_retries_and_records_a_failure_at_the_end(cast: Cast, approved: Request, smtp: Mailbox) -> None:
    smtp.refuse = {"charlie@example.com"}
    approved(**LONG_AGO, expires_at=in_days(6))
    moment = now()
    reminders.plan(moment)
    for minutes in (0, 0, 2, 10, 30, 120, 400):
        moment += timedelta(minutes=minutes)
        delivery.send_waiting(moment)
        delivery.record_settled()
    row = Reminder.objects.get(recipient=cast.charlie.uid)
    assert (row.state, row.attempts) == (WAITING, 6)  # the second try came too early
    delivery.send_waiting(moment + timedelta(hours=13))
    delivery.record_settled()
    row.refresh_from_db()
    assert (row.state, row.attempts) == (FAILED, 7)
    assert row.record_index is not None
    body = reader.get(row.record_index).recorded.body
    assert (body["outcome"], body["attempts"]) == ("failed", 7)
    assert "no such mailbox" in body["error"]
    assert smtp.to() == ["alice@example.com"]


def test_it_drops_what_a_renewal_has_overtaken(cast: Cast, approved: Request, smtp: Mailbox) -> None:
    found = approved(**LONG_AGO, expires_at=in_days(6))
    reminders.plan(now())
    lifecycle.request_renewal(actor=actor(cast.alice), exception=found.id, expires_at=in_days(60), reason="More")
    lifecycle.approve_renewal(actor=actor(cast.bob), exception=found.id)
    remind()
    assert smtp.messages == []
    assert set(Reminder.objects.values_list("state", flat=True)) == {DROPPED}
    assert not Record.objects.filter(kind="exception.reminded").exists()


def test_it_reminds_again_about_a_renewed_expiry(cast: Cast, approved: Request, smtp: Mailbox) -> None:
    found = approved(**LONG_AGO, expires_at=in_days(6))
    remind()
    lifecycle.request_renewal(actor=actor(cast.alice), exception=found.id, expires_at=in_days(60), reason="More")
    lifecycle.approve_renewal(actor=actor(cast.bob), exception=found.id)
    later = in_days(55)
    reminders.plan(later)
    delivery.send_waiting(later)
    assert [message["Subject"][:27] for message in smtp.messages[2:]] == ["EXC-0001 expires in 5 days:"] * 2
    assert len({message["Message-ID"] for message in smtp.messages}) == 4


def test_it_takes_up_what_a_dead_worker_left(cast: Cast, approved: Request, smtp: Mailbox) -> None:
    approved(**LONG_AGO, expires_at=in_days(6))
    moment = now()
    reminders.plan(moment)
    mine = Reminder.objects.filter(recipient=cast.alice.uid)
    assert len(outbox.claim(mine, moment, policy.load().reminders.retries)) == 1  # and the worker dies here
    assert delivery.send_waiting(moment) == 1
    assert delivery.send_waiting(moment + timedelta(minutes=2)) == 1
    assert smtp.to() == ["alice@example.com", "charlie@example.com"]  # or here, before the record
    delivery.record_settled(), delivery.record_settled()
    assert Record.objects.filter(kind="exception.reminded").count() == 2


def test_it_plans_in_a_fixed_number_of_queries(cast: Cast, approved: Request, django_assert_num_queries: Any) -> None:
    for _ in range(3):
        approved(**LONG_AGO, expires_at=in_days(6))
    reminders.plan(now() - timedelta(days=1))
    Reminder.objects.all().delete()
    with django_assert_num_queries(9 + 5 + 2):  # windows; lock, staff, channels, people, insert; BEGIN and COMMIT
        reminders.plan(now())
    assert Reminder.objects.count() == 6
    with django_assert_num_queries(9 + 3 + 2):  # nothing is due any more
        reminders.plan(now())
