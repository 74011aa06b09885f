"""A report is built by the worker, mailed once to each recipient, and recorded."""

import hashlib
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pypdf import PdfReader
from pytest_django import Settings

from compliance.models import Report, ReportMail
from compliance.reports import sending
from compliance.reports.months import Month
from compliance.tasks import send_due_reports
from evidence.ledger import reader
from evidence.models import Record, User
from evidence.people import change_user
from tests.cast import Cast
from tests.compliance.reports.conftest import actor, play_release, request_exception
from tests.smtp import Mailbox


def _ask(cast: Cast, **more: Any) -> Report:
    now = datetime.now(UTC)
    report, _ = sending.request_report(kind="monthly", month=str(Month.of(now)), user=cast.lea, now=now, **more)
    return report


def _recorded(report: Report) -> dict[str, Any]:
    assert report.index is not None
    return reader.get(report.index).recorded.body


def _told(report: Report) -> dict[str, str]:
    """By person, what the newest record says of it."""
    report.refresh_from_db()
    return {one["person"]: one["outcome"] for one in _recorded(report)["recipients"]}


def _client(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def _mails(mailbox: Path) -> list[EmailMessage]:
    found = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in sorted(mailbox.glob("*.eml"))]
    return [message for message in found if isinstance(message, EmailMessage)]


def test_it_mails_text_and_pdf_to_executives_and_records_it(cast: Cast, mailbox: Path) -> None:
    request_exception(cast, ends=timedelta(days=5), severity="critical", title="Old TLS on the partner gateway")
    play_release(cast)
    report = _ask(cast)
    send_due_reports()
    mails = _mails(mailbox)
    assert sorted(str(mail["To"]) for mail in mails) == ["lea@example.com", "max@example.com"]
    (attachment,) = mails[0].iter_attachments()
    content = attachment.get_content()
    text = mails[0].get_body(("plain",)).get_content()  # type: ignore[union-attr]  # a report has a text
    assert "1 exceptions open (0 the month before)" in text
    assert "- Critical: 1 (0 before)" in text
    assert "release-20260312 (netlify-trading): open, succeeded" in text
    assert f"http://testserver/reports/monthly/?month={report.period}" in text
    read = " ".join(page.extract_text() for page in PdfReader(BytesIO(content)).pages)
    assert "Compliance report" in read
    assert "release-20260312" in read
    report.refresh_from_db()
    assert report.state == "sent"
    body = _recorded(report)
    assert body["pdf_sha256"] == hashlib.sha256(content).hexdigest()
    assert {r["person"]: r["outcome"] for r in body["recipients"]} == {cast.lea.uid: "sent", cast.max.uid: "sent"}


def test_a_second_run_mails_nothing(cast: Cast, mailbox: Path) -> None:
    report = _ask(cast)
    send_due_reports()
    send_due_reports()
    assert not sending.send(report.pk, now=datetime.now(UTC))
    assert len(_mails(mailbox)) == 2
    assert Record.objects.filter(kind="report.sent").count() == 1


def test_a_worker_that_died_after_mailing_does_not_mail_again(
    cast: Cast, mailbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = _ask(cast)
    with monkeypatch.context() as patched:

        def die(*_: Any) -> None:
            raise SystemExit

        patched.setattr(sending, "_record", die)
        with pytest.raises(SystemExit):
            sending.send(report.pk, now=datetime.now(UTC))
    assert not sending.send(report.pk, now=datetime.now(UTC))
    later = datetime.now(UTC) + sending.CLAIM
    assert sending.send(report.pk, now=later)
    assert len(_mails(mailbox)) == 2
    assert Record.objects.filter(kind="report.sent").count() == 1


def test_mail_whose_outcome_is_unknown_is_not_sent_again(cast: Cast, mailbox: Path) -> None:
    report = _ask(cast)
    ReportMail.objects.create(report=report, recipient=cast.max.uid, outcome=ReportMail.SENDING)
    send_due_reports()
    assert [str(mail["To"]) for mail in _mails(mailbox)] == ["lea@example.com"]
    report.refresh_from_db()
    outcomes = {r["person"]: r["outcome"] for r in _recorded(report)["recipients"]}
    assert outcomes[cast.max.uid] == ReportMail.UNKNOWN


def test_an_outage_of_the_mail_server_puts_it_off(cast: Cast, settings: Settings, mailbox: Path) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    report = _ask(cast)
    send_due_reports()
    report.refresh_from_db()
    assert (report.state, report.attempts) == ("waiting", 1)
    assert report.error
    settings.EMAIL_BACKEND = "config.mail.FileBackend"
    send_due_reports()
    assert _mails(mailbox) == []
    assert sending.send(report.pk, now=report.next_attempt_at)
    assert len(_mails(mailbox)) == 2


def test_whom_the_mail_server_refuses_keeps_it_from_nobody_else(cast: Cast, smtp: Mailbox) -> None:
    change_user(cast.cora, actor=actor(cast.root), roles=["executive"])
    smtp.refuse, smtp.busy = {"max@example.com"}, {"cora@example.com": 2}
    report = _ask(cast)
    assert not sending.send(report.pk, now=report.next_attempt_at)
    assert smtp.to() == ["lea@example.com"]
    report.refresh_from_db()
    assert report.error == "Not delivered yet to 1 of 3, tried again: refused: 450 4.2.1 the address is busy"
    assert not sending.send(report.pk, now=report.next_attempt_at)
    assert not Record.objects.filter(kind="report.sent").exists()
    assert sending.send(report.pk, now=report.next_attempt_at + timedelta(minutes=5))
    assert smtp.to() == ["cora@example.com", "lea@example.com"]
    assert _told(report) == {
        cast.cora.uid: "sent",
        cast.lea.uid: "sent",
        cast.max.uid: "refused: 550 no such mailbox",
    }

    listed = _client(cast.lea).get("/reports/").content.decode()
    assert "<b>Max</b>: refused: 550 no such mailbox. An administrator corrects the address under People" in listed
    listed = _client(cast.root).get("/reports/").content.decode()
    assert f'/admin/evidence/user/{cast.max.pk}/change/">Correct the address' in listed
    change_user(cast.max, actor=actor(cast.root), email="max.m@example.com")
    change_user(cast.bob, actor=actor(cast.root), roles=["executive"])  # too late for this report
    smtp.messages.clear()
    again = f"/reports/sent/{report.pk}/again/"
    assert _client(cast.alice).post(again).status_code == 403
    for said in ("mailed again to 1 person", "nobody to send it to again"):
        assert said in _client(cast.lea).post(again, follow=True).content.decode()
    send_due_reports()
    assert smtp.to() == ["max.m@example.com"]
    assert [part.get_content() for part in smtp.messages[0].iter_attachments()] == [bytes(report.pdf or b"")]
    assert _told(report) == {cast.max.uid: "sent"}, "who has it got no second one"
    assert "Send again" not in _client(cast.lea).get("/reports/").content.decode()


def test_who_is_refused_for_now_too_often_and_who_leaves_meanwhile_are_waited_for_no_more(
    cast: Cast, smtp: Mailbox
) -> None:
    change_user(cast.cora, actor=actor(cast.root), roles=["executive"])
    smtp.busy = {"max@example.com": 99, "cora@example.com": 99, "lea@example.com": 1}
    report = _ask(cast)
    for attempt in range(6):
        report.refresh_from_db()
        assert report.state == "waiting"
        sending.send(report.pk, now=report.next_attempt_at)
        if attempt == 3:
            change_user(cast.cora, actor=actor(cast.root), is_active=False)
    assert smtp.to() == ["lea@example.com"]
    assert _told(report) == {
        cast.cora.uid: "not sent: has left",
        cast.lea.uid: "sent",
        cast.max.uid: "refused: 450 4.2.1 the address is busy, 6 times",
    }


def test_without_an_executive_it_waits_and_says_so(cast: Cast, mailbox: Path) -> None:
    change_user(cast.max, actor=actor(cast.root), is_active=False)
    now = Month.of(datetime.now(UTC)).end + timedelta(hours=1)
    sending.send_due(now)
    report = Report.objects.get()
    assert report.state == "waiting"
    assert "No active person has the role executive" in report.error


def test_looking_for_what_is_due_reads_no_more_of_the_log_than_its_first_record(cast: Cast, mailbox: Path) -> None:
    """It is looked for every minute, and a log that is younger than the month holds nothing older."""
    play_release(cast)
    with CaptureQueriesContext(connection) as asked:
        assert sending.send_due(datetime.now(UTC)) == 0
    of_the_log = [query["sql"] for query in asked if 'FROM "evidence_record"' in query["sql"]]
    assert any(sql.endswith('ORDER BY "evidence_record"."index" ASC LIMIT 1') for sql in of_the_log)
    assert not Report.objects.filter(kind=Report.MONTHLY).exists()


def test_who_sees_some_systems_only_gets_no_figures_of_all(cast: Cast, mailbox: Path) -> None:
    change_user(cast.max, actor=actor(cast.root), systems=[cast.billing])
    _ask(cast)
    send_due_reports()
    assert [str(mail["To"]) for mail in _mails(mailbox)] == ["lea@example.com"]


def test_the_past_month_is_due_from_its_first_day_on_and_once(cast: Cast, mailbox: Path) -> None:
    this = Month.of(datetime.now(UTC))
    sending.send_due(datetime.now(UTC))
    assert not Report.objects.exists()  # the log does not reach back
    for _ in range(2):
        sending.send_due(this.end + timedelta(minutes=1))
    report = Report.objects.get()
    assert (report.period, report.request, report.state) == (str(this), "", "sent")
    assert [str(mail["To"]) for mail in _mails(mailbox)] == ["max@example.com"]
