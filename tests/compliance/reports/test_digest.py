"""Executives get a digest on the day of a release, once, with what was not by the book."""

from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from io import BytesIO
from pathlib import Path

import pytest
from pypdf import PdfReader

from compliance.models import Report
from compliance.reports import digest, sending
from evidence.ledger import reader
from evidence.models import Record
from evidence.people import change_user, save_system
from tests.cast import Cast
from tests.compliance.reports.conftest import actor, play_release


@pytest.mark.parametrize(
    ("deployed", "due"),
    [
        ("2026-03-12T15:00:00Z", "2026-03-12T17:00:00Z"),
        ("2026-03-12T22:45:00Z", "2026-03-12T23:30:00Z"),
        ("2026-03-12T23:50:00Z", "2026-03-12T23:51:00Z"),
    ],
)
def test_it_is_due_on_the_same_day(deployed: str, due: str) -> None:
    assert digest._moment(datetime.fromisoformat(deployed)) == datetime.fromisoformat(due)


def test_it_goes_out_once_to_executives_and_is_recorded(cast: Cast, mailbox: Path) -> None:
    play_release(cast)
    now = datetime.now(UTC)
    assert sending.send_due(now) == 0
    assert sending.send_due(now + timedelta(hours=3)) == 1
    assert sending.send_due(now + timedelta(hours=4)) == 0
    (file,) = mailbox.glob("*.eml")
    mail = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert str(mail["To"]) == "max@example.com"
    assert "Release digest: netlify-trading release-20260312: succeeded at" in str(mail["Subject"])
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]  # a digest has a text
    assert "- Deployed without approval by product, design, sre" in text
    assert "- Approval afterwards by design: due in" in text
    assert "/admin/evidence/release/netlify-trading_3Arelease-20260312/change/" in text
    (attachment,) = mail.iter_attachments()
    read = " ".join(page.extract_text() for page in PdfReader(BytesIO(attachment.get_content())).pages)
    assert "Deployed without having run on staging." in read
    report = Report.objects.get(kind="release")
    body = reader.get(report.index or 0).recorded.body
    assert (body["kind"], body["period"], body["recipients"]) == (
        "release",
        report.period,
        [{"person": cast.max.uid, "outcome": "sent"}],
    )
    assert Record.objects.filter(kind="report.sent").count() == 1


def test_it_goes_to_nobody_who_may_not_see_the_system(cast: Cast, mailbox: Path) -> None:
    change_user(cast.max, actor=actor(cast.root), systems=[cast.billing])
    play_release(cast)
    sending.send_due(datetime.now(UTC))
    sending.send_due(datetime.now(UTC) + timedelta(hours=3))
    assert list(mailbox.glob("*.eml")) == []
    assert Report.objects.get(kind="release").state == "sent"


def test_a_sandbox_has_none(cast: Cast) -> None:
    save_system(actor=actor(cast.root), name="netlify-trading", sandbox=True, system=cast.trading)
    play_release(cast)
    assert digest.due(datetime.now(UTC)) == []
