"""What reminders, notices and reviews have in common: each told once, and each outcome recorded once."""

from datetime import UTC, datetime

import pytest

from config.errors import ConflictError, ProoftrailError
from evidence import outbox
from evidence.models import Record
from exceptions import reminders, telling
from exceptions.delivery import REMINDERS
from exceptions.models import Reminder
from tests.cast import Cast
from tests.exceptions.conftest import Request, in_days
from tests.smtp import Mailbox


@pytest.fixture
def waiting(cast: Cast, approved: Request) -> datetime:
    """Two things to tell each of Alice and Charlie; when they were put into the outbox."""
    for _ in range(2):
        approved(effective_from=in_days(-25), expires_at=in_days(6))
    now = datetime.now(UTC)
    reminders.plan(now)
    return now


def test_it_records_each_outcome_once_in_bounded_rounds(
    waiting: datetime, smtp: Mailbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert REMINDERS.send_waiting(waiting) == 4
    first, gone, *others = Reminder.objects.order_by("pk").values_list("pk", flat=True)
    Reminder.objects.filter(pk=gone).update(exception_id="EXC-9999")  # as if disposed of

    def refuse(*_: object, **__: object) -> None:
        raise ProoftrailError("the ledger is busy")

    with monkeypatch.context() as patched:
        patched.setattr(telling, "append_composed", refuse)
        assert REMINDERS.record_settled() == 0
    assert caplog.text.count("is not recorded yet: the ledger is busy") == 4

    monkeypatch.setattr(telling, "CHUNK", 1)
    monkeypatch.setattr(telling, "RECORDED", 2)
    assert [REMINDERS.record_settled() for _ in range(3)] == [2, 1, 0]
    assert Reminder.objects.get(pk=gone).state == "dropped"
    with pytest.raises(ConflictError) as quicker:
        REMINDERS.record(first)
    assert quicker.value.code == "already_recorded"
    assert REMINDERS._recorded(first) is False
    recorded = Record.objects.filter(kind="exception.reminded").values_list("index", flat=True)
    assert sorted(recorded) == sorted(
        Reminder.objects.filter(pk__in=[first, *others]).values_list("record_index", flat=True)
    )


def test_what_another_worker_holds_is_neither_told_nor_ended(cast: Cast, waiting: datetime, smtp: Mailbox) -> None:
    """Both have read the same rows; who locks first has all of them, so that a digest is never cut in two."""
    rows = list(Reminder.objects.filter(recipient=cast.alice.uid))
    needed = REMINDERS.needed(rows, waiting)
    assert len(outbox.claim(Reminder.objects.filter(recipient=cast.alice.uid), waiting, REMINDERS.retries())) == 2
    assert REMINDERS.claim(needed, waiting) == ([], [])
    telling.settle(rows, telling.NOT_NEEDED, waiting)
    assert REMINDERS.send_waiting(waiting) == 2
    assert smtp.to() == ["charlie@example.com"]
    assert set(Reminder.objects.filter(recipient=cast.alice.uid).values_list("state", "attempts")) == {("waiting", 1)}
