"""Who may decide is asked to; who asked or answers for it is told; each once, and on record."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from pytest_django import Settings

from evidence.ledger import Actor, reader
from evidence.models import Record
from evidence.models.people import SERVICE
from evidence.people import change_user
from exceptions import lifecycle, notices, ratification
from exceptions.importing import jobs
from exceptions.models import Announcement, Notice, SecurityException
from exceptions.tasks import notify
from tests.cast import Cast
from tests.exceptions.conftest import Request, actor, in_days
from tests.exceptions.importing.files import csv_of, row
from tests.smtp import Mailbox, content_of, free_port


def subjects(smtp: Mailbox) -> dict[str, list[str]]:
    """By recipient, in the order in which they came; the box is empty afterwards."""
    found: dict[str, list[str]] = {}
    for message in smtp.messages:
        found.setdefault(str(message["To"]).partition("@")[0], []).append(str(message["Subject"]))
    smtp.messages.clear()
    return found


def notified() -> list[dict[str, Any]]:
    rows = Record.objects.filter(kind="exception.notified").order_by("index")
    return [reader.get(each.index).recorded.body for each in rows]


def test_it_asks_who_may_decide_and_tells_who_asked(cast: Cast, request_one: Request, smtp: Mailbox) -> None:
    found = request_one()
    for _ in range(3):
        notify()
    waits = ["EXC-0001 waits for your decision: Old TLS on the partner gateway"]
    text, html = content_of(smtp.messages[0], "plain"), content_of(smtp.messages[0], "html")
    for content in (text, html):
        assert f"Alice asks for it until {found.expires_at:%Y-%m-%d}." in content
        assert "The partner upgrades in spring." in content
        assert "waives dependency-alerts" in content
        assert "/admin/exceptions/securityexception/EXC-0001/change/" in content
    assert subjects(smtp) == {"bob": waits, "lea": waits}
    lifecycle.approve(actor=actor(cast.bob), exception=found.pk, reason="Compared with the contract")
    notify()
    approved = [f"EXC-0001 Bob approved it, until {found.expires_at:%Y-%m-%d}: Old TLS on the partner gateway"]
    assert "Compared with the contract" in content_of(smtp.messages[0], "plain")
    assert subjects(smtp) == {"alice": approved, "charlie": approved}
    bodies = notified()
    assert [(body["about"], body["asked"], body["outcome"]) for body in bodies] == [
        (found.requested_index, True, "delivered"),
        (found.requested_index, True, "delivered"),
        (found.approvals.get().index, False, "delivered"),
        (found.approvals.get().index, False, "delivered"),
    ]
    assert not Announcement.objects.exists()


def test_it_tells_nobody_of_what_they_did_themselves_or_what_is_half_done(
    cast: Cast, request_one: Request, smtp: Mailbox
) -> None:
    found = request_one(severity="critical", owner="alice@example.com")
    notify()
    assert set(subjects(smtp)) == {"bob", "lea"}
    lifecycle.approve(actor=actor(cast.bob), exception=found.pk)
    notify()
    assert subjects(smtp) == {}, "one more has to approve"
    lifecycle.approve(actor=actor(cast.lea), exception=found.pk)
    lifecycle.remediate(actor=actor(cast.alice), exception=found.pk, reason="Done", evidence=[found.requested_index])
    notify()
    (told,) = subjects(smtp)["alice"]
    assert "Lea approved it" in told, "of the closing she knows: it was hers"


def test_it_asks_nobody_who_may_not_or_need_not_any_more(cast: Cast, request_one: Request, smtp: Mailbox) -> None:
    found = request_one(owner="lea@example.com")
    notices.plan(datetime.now(UTC))
    assert [each.recipient for each in Notice.objects.all()] == [cast.bob.uid], "Lea owns it"
    lifecycle.withdraw(actor=actor(cast.alice), exception=found.pk, reason="Not needed")
    notify()
    assert set(subjects(smtp)) == {"lea"}, "there is nothing left to decide"
    assert Notice.objects.get(recipient=cast.bob.uid).state == "dropped"


def test_it_asks_executives_where_only_they_may(cast: Cast, approved: Request, smtp: Mailbox) -> None:
    found = approved()
    for days in (40, 60):
        lifecycle.request_renewal(actor=actor(cast.alice), exception=found.pk, expires_at=in_days(days), reason="More")
        lifecycle.approve_renewal(actor=actor(cast.bob), exception=found.pk)
    notify()
    subjects(smtp)
    lifecycle.request_renewal(actor=actor(cast.alice), exception=found.pk, expires_at=in_days(80), reason="Again")
    notify()
    assert subjects(smtp) == {"max": ["EXC-0001 waits for your decision: Old TLS on the partner gateway"]}


def test_it_asks_an_executive_for_the_second_approval_where_only_they_may_give_it(
    cast: Cast, request_one: Request, approved: Request, smtp: Mailbox
) -> None:
    waits = ["EXC-0001 waits for your decision: Old TLS on the partner gateway"]
    found = request_one(severity="critical", expires_at=in_days(60))
    notify()
    assert subjects(smtp) == {"bob": waits, "lea": waits}, "the first of two may be theirs"
    lifecycle.approve(actor=actor(cast.bob), exception=found.pk, reason="For the partner")
    for _ in range(2):
        notify()
    text = content_of(smtp.messages[0], "plain")
    assert "Bob approved it; one more has to." in text
    assert "EXC-0001 asks for 60 days: beyond 30 a critical one needs an executive among the approvers." in text
    assert subjects(smtp) == {"max": waits}
    request_one(severity="high", expires_at=in_days(100), title="At once")
    both = request_one(severity="critical", expires_at=in_days(60), title="In one round")
    lifecycle.approve(actor=actor(cast.bob), exception=both.pk)
    notify()
    assert subjects(smtp) == {"max": ["Exceptions: 2 wait for your decision"]}, "each once"
    renewed = approved(severity="critical")
    lifecycle.request_renewal(actor=actor(cast.alice), exception=renewed.pk, expires_at=in_days(70), reason="More")
    notify()
    subjects(smtp)
    lifecycle.approve_renewal(actor=actor(cast.bob), exception=renewed.pk)
    notify()
    assert "Bob approved its renewal; one more has to." in content_of(smtp.messages[0], "plain")
    assert set(subjects(smtp)) == {"max"}, "half an approval is no news for who asked"
    lifecycle.approve_renewal(actor=actor(cast.max), exception=renewed.pk)
    notify()
    assert set(subjects(smtp)) == {"alice", "charlie"}


def test_it_sends_one_mail_for_many_and_links_that_only_look(cast: Cast, request_one: Request, smtp: Mailbox) -> None:
    for number in range(3):
        request_one(title=f"Request {number}")
    lifecycle.reject(actor=actor(cast.bob), exception="EXC-0002", reason="Too wide")
    notify()
    mails = {str(message["To"]).partition("@")[0]: message for message in smtp.messages}
    text = content_of(mails["bob"], "plain")
    bobs = [body for body in notified() if body["recipient"] == cast.bob.uid]
    assert {(body["digest"], body["message"]) for body in bobs} == {(2, mails["bob"]["Message-ID"].strip())}
    links = re.findall(r"http://testserver(/\S+)", text)
    assert len(links) == 3, "two requests and the register"
    assert subjects(smtp) == {
        "bob": ["Exceptions: 2 wait for your decision"],
        "lea": ["Exceptions: 2 wait for your decision"],
        "alice": ["EXC-0002 Bob rejected it: Request 1"],
        "charlie": ["EXC-0002 Bob rejected it: Request 1"],
    }


def test_it_waits_for_a_mail_server_that_is_away(
    cast: Cast, request_one: Request, smtp: Mailbox, settings: Settings
) -> None:
    request_one()
    port, settings.EMAIL_PORT = settings.EMAIL_PORT, free_port()
    now = datetime.now(UTC)
    notices.plan(now)
    for minutes in range(0, 60, 5):
        assert notices.send_waiting(now + timedelta(minutes=minutes)) == 0
    settings.EMAIL_PORT = port
    assert notices.send_waiting(now + timedelta(hours=2)) == 2
    assert notices.send_waiting(now + timedelta(hours=3)) == 0
    assert len(smtp.messages) == 2


def test_who_left_meanwhile_is_not_asked_but_whoever_may_decide_then(
    cast: Cast, request_one: Request, smtp: Mailbox
) -> None:
    request_one(owner="lea@example.com")
    notices.plan(datetime.now(UTC))
    change_user(cast.bob, actor=Actor(SERVICE), is_active=False)
    for _ in range(3):
        notify()
    assert set(subjects(smtp)) == {"max"}, "Lea owns it and Bob has left: an executive is asked"
    assert Notice.objects.get(recipient=cast.bob.uid).last_error == "the recipient has left"


def test_an_import_floods_nobody_and_a_ratified_list_is_told(cast: Cast, smtp: Mailbox) -> None:
    opened = jobs.open_import(person=cast.lea, filename="r.csv", data=csv_of(row(), row(ref="SEC-2")), dry_run=False)
    assert jobs.run(opened.pk)
    notify()
    assert subjects(smtp) == {}
    numbers = list(SecurityException.objects.values_list("pk", flat=True))
    ratification.ratify(actor=actor(cast.bob), exceptions=numbers, reason="As in the minutes")
    notify()
    assert subjects(smtp) == {"charlie": ["Exceptions: 2 were decided"], "cora": ["Exceptions: 2 were decided"]}
