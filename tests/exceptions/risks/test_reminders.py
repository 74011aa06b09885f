"""Reminders of reviews, with the time passed in and real mail."""

import socket
from datetime import UTC, date, datetime, time, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from pytest_django import Settings

from evidence.ledger import Actor, reader
from evidence.models import Record
from evidence.models.people import SERVICE
from evidence.people import change_user
from exceptions import risk_reminders, risks
from exceptions.models import ReviewReminder, Risk
from exceptions.tasks import remind_of_reviews
from tests.cast import Cast
from tests.exceptions.conftest import actor
from tests.exceptions.risks.conftest import AddRisk
from tests.smtp import Mailbox, content_of


def mails(mailbox: Path) -> list[EmailMessage]:
    read = [message_from_bytes(file.read_bytes(), policy=policy.default) for file in sorted(mailbox.glob("*.eml"))]
    return [mail for mail in read if isinstance(mail, EmailMessage)]


def noon(day: date, days: int = 0) -> datetime:
    return datetime.combine(day + timedelta(days=days), time(12), UTC)


def due(risk: Risk) -> date:
    assert risk.review_by is not None
    return risk.review_by


def remind_twice(at: datetime) -> None:
    """As two beats would."""
    risk_reminders.remind(at)
    risk_reminders.remind(at)


def test_it_reminds_the_owner_then_the_manager_then_the_liaison(cast: Cast, add_risk: AddRisk, mailbox: Path) -> None:
    risk = add_risk(systems=["netlify-trading"], mitigation="A second provider by June")
    told = {-1: [], 0: ["alice"], 6: [], 7: ["max"], 13: [], 14: ["lea"], 300: []}
    everybody: list[str] = []
    for days, people in told.items():
        remind_twice(noon(due(risk), days))
        everybody += [f"{name}@example.com" for name in people]
        assert [str(mail["To"]) for mail in mails(mailbox)] == everybody, days
    first, second, _ = mails(mailbox)
    assert first["Subject"] == "The review of RISK-0001 is due today: One provider for DNS"
    assert second["Subject"] == "The review of RISK-0001 is 7 days overdue: One provider for DNS"
    text = first.get_body(("plain",))
    assert text is not None
    for said in ("10 high, unlikely and severe", "/RISK-0001/review/", "A second provider by June", "own this risk"):
        assert said in text.get_content()
    bodies = [
        reader.get(row.index).recorded.body for row in Record.objects.filter(kind="risk.reminded").order_by("index")
    ]
    assert [(body["recipient"], body["outcome"]) for body in bodies] == [
        *((person.uid, "delivered") for person in (cast.alice, cast.max, cast.lea))
    ]
    assert "Reminder by mail of the review due" in risk.changes.order_by("-index")[0].reason


def test_several_reviews_are_one_mail_for_each_person(cast: Cast, add_risk: AddRisk, smtp: Mailbox) -> None:
    today = datetime.now(UTC).date()
    soon = add_risk(title="Partner gateway falls behind", review_by=today + timedelta(days=3), residual_likelihood=1)
    late = add_risk(title="<b>One</b> provider for DNS", review_by=today + timedelta(days=1))
    alone = add_risk(owner="bob@example.com", review_by=today + timedelta(days=3))
    smtp.refuse = {"bob@example.com"}
    remind_twice(noon(due(soon)))
    (mail,) = smtp.messages
    assert (mail["To"], mail["Subject"]) == ("alice@example.com", "2 risks to review: 1 overdue, 1 due today")
    text, html = content_of(mail, "plain"), content_of(mail, "html")
    for content in (text, html):
        assert content.index(late.pk) < content.index(soon.pk), "what is due longest comes first"
        assert "2 days overdue" in content
        assert "10 high, unlikely and severe" in content
        for risk in (late, soon):
            assert f"http://testserver/admin/exceptions/risk/{risk.pk}/review/" in content
        assert "http://testserver/admin/exceptions/risk/?review=due" in content
    assert "<b>One</b> provider" in text
    assert "&lt;b&gt;One&lt;/b&gt; provider" in html
    told = Record.objects.filter(kind="risk.reminded").order_by("index")
    bodies = [reader.get(row.index).recorded.body for row in told]
    assert {(body["recipient"], body["outcome"], body["digest"]) for body in bodies} == {
        (cast.alice.uid, "delivered", 2)
    }
    assert {body["message"] for body in bodies} == {mail["Message-ID"].strip()}
    assert "Reminder by mail with 1 more of the review due" in late.changes.order_by("-index")[0].reason
    refused = ReviewReminder.objects.get(risk_id=alone.pk)
    assert (refused.state, refused.last_error) == ("waiting", "refused: 550 no such mailbox")


def test_a_review_ends_it_until_the_next_date(cast: Cast, add_risk: AddRisk, mailbox: Path) -> None:
    risk, closed = add_risk(), add_risk()
    first = due(risk)
    risk_reminders.plan(noon(first))
    next_one = datetime.now(UTC).date() + timedelta(days=9)
    risks.review_risk(actor=actor(cast.alice), risk=risk.pk, reason="It holds", review_by=next_one)
    risks.close_risk(actor=actor(cast.alice), risk=closed.pk, reason="Two providers")
    remind_twice(noon(first))  # what was planned is dropped, what is due now goes out
    assert [str(mail["To"]) for mail in mails(mailbox)] == ["alice@example.com", "max@example.com", "lea@example.com"]
    assert set(ReviewReminder.objects.filter(state="dropped").values_list("risk_id", "review_by")) == {
        *((number, first) for number in (risk.pk, closed.pk))
    }


def test_an_empty_seat_falls_to_the_next_above(cast: Cast, add_risk: AddRisk, mailbox: Path) -> None:
    alone = add_risk(owner="bob@example.com")  # who has no manager
    risk = add_risk()
    change_user(cast.alice, actor=Actor(SERVICE), is_active=False)
    remind_twice(noon(due(risk)))
    assert sorted((str(mail["To"]), str(mail["Subject"])[14:23]) for mail in mails(mailbox)) == [
        *(("bob@example.com", alone.pk), ("max@example.com", risk.pk))
    ]
    change_user(cast.max, actor=Actor(SERVICE), is_active=False)
    remind_twice(noon(due(risk), 7))
    assert {str(mail["To"]) for mail in mails(mailbox)[2:]} == {"lea@example.com"}


def test_mail_that_is_down_is_tried_again(
    cast: Cast, add_risk: AddRisk, mailbox: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    risk = add_risk()
    start, backend = noon(due(risk)), settings.EMAIL_BACKEND
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = nobody.getsockname()
        risk_reminders.remind(start)
        risk_reminders.remind(start + timedelta(seconds=30))
    assert sum(one.name == "evidence.outbox" for one in caplog.records) == 1  # one attempt for both rounds
    settings.EMAIL_BACKEND = backend
    remind_twice(start + timedelta(minutes=2))
    row = ReviewReminder.objects.get()
    assert (row.state, row.attempts, len(mails(mailbox))) == ("delivered", 2, 1)
    assert reader.get(Record.objects.get(kind="risk.reminded").index).recorded.body["attempts"] == 2


@pytest.mark.usefixtures("cast")
def test_the_beat_finds_nothing_before_a_review_is_due(add_risk: AddRisk, mailbox: Path) -> None:
    add_risk()
    remind_of_reviews()
    assert not mails(mailbox)
