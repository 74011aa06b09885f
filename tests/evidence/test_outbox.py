"""What a mail server's answer means: for one message, for everybody, for good or for now."""

import smtplib
from collections.abc import Iterator

import pytest
from aiosmtpd.controller import Controller

from evidence import outbox
from tests.smtp import Mailbox, free_port


@pytest.fixture
def port() -> Iterator[int]:
    """A server that takes no message above 1,000 bytes."""
    controller = Controller(Mailbox(), hostname="127.0.0.1", port=free_port(), data_size_limit=1000)
    controller.start()
    yield controller.port
    controller.stop()


def test_a_message_that_is_too_large_is_refused_and_the_next_one_arrives(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        with pytest.raises(smtplib.SMTPSenderRefused) as caught:
            client.sendmail("prooftrail@example.com", ["ada@example.com"], "x" * 2000)
        assert outbox.is_refusal(caught.value)
        assert outbox.is_final(caught.value)
        assert outbox.in_words(caught.value).startswith("refused: 552 ")
        client.sendmail("prooftrail@example.com", ["ada@example.com"], "x")


def test_a_sender_that_may_not_send_at_all_keeps_everybody_waiting() -> None:
    barred = smtplib.SMTPSenderRefused(530, b"authentication required", "prooftrail@example.com")
    assert not outbox.is_refusal(barred)
    assert not outbox.is_final(barred)
    assert "refused" not in outbox.in_words(barred).partition(":")[0]
