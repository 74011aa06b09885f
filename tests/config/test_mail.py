import email
import email.policy
import stat
from pathlib import Path

from django.core.mail import EmailMultiAlternatives, get_connection


def test_it_writes_each_message_as_one_private_file_in_the_order_of_sending(mailbox: Path) -> None:
    for subject in ("first", "second"):
        message = EmailMultiAlternatives(subject, "Grüße", "prooftrail@example.org", ["max@example.org"])
        message.attach("report.pdf", b"%PDF-2.0", "application/pdf")
        assert message.send() == 1
    files = sorted(mailbox.iterdir())
    read = [email.message_from_bytes(file.read_bytes(), policy=email.policy.default) for file in files]
    assert [message["Subject"] for message in read] == ["first", "second"]
    body = read[0].get_body()
    assert body is not None
    assert body.get_content().strip() == "Grüße"
    assert [part.get_filename() for part in read[0].iter_attachments()] == ["report.pdf"]
    assert {file.suffix for file in files} == {".eml"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_it_sends_nothing_to_nobody(mailbox: Path) -> None:
    assert get_connection().send_messages([EmailMultiAlternatives("s", "b", "a@example.org", [])]) == 0
    assert not list(mailbox.glob("*"))
