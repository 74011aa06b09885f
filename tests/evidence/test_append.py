"""The one way into the ledger."""

import pytest
from django.db import connection, transaction

from config.errors import ForbiddenError, InvalidError, UnavailableError
from evidence.keys import log_verifier, record_signer
from evidence.ledger import Actor, Draft, Idempotency, Placed, append, append_all, head, reader, service_draft
from evidence.models import Entry, Head, Note, Record
from evidence.models.people import SERVICE
from evidence.tlog.keys import key_digest
from evidence.tlog.receipt import parse_receipt, verify_receipt

pytestmark = pytest.mark.usefixtures("ledger")
DECISION = {"title": "Adopt Looker", "decision": "Deprecate ad-hoc sheets", "rationale": "One source of truth"}


def decide(title="Adopt Looker", key=None, **more):
    idempotency = Idempotency.of(key, method="POST", path="/", body=title.encode()) if key else None
    return service_draft("decision", DECISION | {"title": title}, actor=Actor(SERVICE), idempotency=idempotency, **more)


def placed_all(drafts: list[Draft]) -> list[Placed]:
    outcomes = append_all(drafts)
    placed = [outcome for outcome in outcomes if isinstance(outcome, Placed)]
    assert len(placed) == len(outcomes)
    return placed


def test_it_proves_the_record_in_the_answer():
    placed = append(decide())
    public = record_signer().key.public_key()
    steps = list(
        verify_receipt(
            parse_receipt(placed.receipt()), verifiers=[log_verifier()], record_keys={key_digest(public): public}
        )
    )
    assert placed.index == 0
    assert all(step.ok for step in steps)


def test_it_shares_one_checkpoint_between_the_records_of_a_batch():
    outcomes = placed_all([decide(str(n)) for n in range(600)])
    assert [outcome.index for outcome in outcomes] == list(range(600))
    assert Note.objects.count() == 1
    for outcome in outcomes[::97]:
        list(verify_receipt(parse_receipt(outcome.receipt()), verifiers=[log_verifier()]))
    later = append(decide("later"))
    list(verify_receipt(parse_receipt(later.receipt()), verifiers=[log_verifier()]))
    assert Head.objects.get().size == Entry.objects.count() == Record.objects.count() == 601


def test_it_answers_a_retry_with_the_same_bytes():
    first = append(decide(key="a"))
    append_all([decide(str(n)) for n in range(300)])
    again = append(decide(key="a"))
    assert again.replayed
    assert again.receipt() == first.receipt()
    assert reader.size() == 301


def test_it_settles_a_key_that_appears_twice_in_one_batch():
    first, second = placed_all([decide(key="a"), decide(key="a")])
    assert second.replayed
    assert (first.index, second.index) == (0, 0)


def test_it_refuses_a_key_for_another_request():
    append(decide(key="a"))
    with pytest.raises(InvalidError) as caught:
        append(decide("Other", key="a"))
    assert caught.value.code == "idempotency_key_reused"
    assert reader.size() == 1


def test_it_lets_a_refused_record_fail_alone():
    def refuse(at):
        raise ForbiddenError("no")

    outcomes = append_all([decide("a"), decide("b", admit=refuse), decide("c")])
    assert [getattr(outcome, "index", None) for outcome in outcomes] == [0, None, 1]


def test_it_lets_a_poisoned_record_fail_alone(caplog):
    def poison(index, at):
        Record.objects.create(index=index, kind="x" * 100, at=at, occurred=at, principal="x", scope=[])

    outcomes = append_all([decide("a"), decide("b"), decide("c", apply=poison), decide("d")])
    assert [getattr(outcome, "index", None) for outcome in outcomes] == [0, 1, None, 2]
    assert isinstance(refused := outcomes[2], InvalidError)
    assert refused.code == "record_refused"
    assert "character varying" in caplog.text, "what the database says of itself is for the log"
    assert "character varying" not in refused.detail
    assert reader.size() == 3


def test_it_refuses_a_revoked_credential_within_the_transaction():
    draft = service_draft("decision", DECISION, actor=Actor("usr_x", ("user", "usr_x")))
    with pytest.raises(ForbiddenError) as caught:
        append(draft)
    assert caught.value.code == "credential_revoked"


def test_it_takes_nothing_of_a_record_whose_transaction_part_refuses():
    def refuse(index, at):
        raise ForbiddenError("too late", code="too_late")

    outcomes = append_all([decide("a"), decide("b", apply=refuse), decide("c")])
    assert [getattr(outcome, "index", None) for outcome in outcomes] == [0, None, 1]
    assert getattr(outcomes[1], "code", None) == "too_late"
    assert Entry.objects.count() == Record.objects.count() == 2


def test_it_stops_when_clocks_disagree(monkeypatch):
    from datetime import UTC, datetime, timedelta

    from evidence.ledger import head

    class Ahead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(UTC) + timedelta(seconds=61)

    append(decide("before"))
    monkeypatch.setattr(head, "datetime", Ahead)
    with pytest.raises(UnavailableError) as caught:
        append(decide("after"))
    assert caught.value.code == "clock_skew"
    assert reader.size() == 1


def test_it_refuses_to_write_to_an_older_copy():
    from evidence.ledger import head

    append(decide("a"))
    head.saw_size(5)
    with pytest.raises(UnavailableError) as caught:
        append(decide("b"))
    assert caught.value.code == "ledger_behind"


def test_it_checks_the_root_before_it_goes_on(superuser):
    append(decide("a"))
    superuser.execute("ALTER TABLE evidence_head DISABLE TRIGGER USER")
    superuser.execute("UPDATE evidence_head SET root = sha256('x')")
    with pytest.raises(UnavailableError) as caught:
        append(decide("b"))
    assert caught.value.code == "ledger_inconsistent"


def test_it_answers_410_for_a_key_whose_record_was_disposed_of():
    from config.errors import GoneError
    from evidence.models import Idempotency as Row

    append(decide(key="a"))
    Row.objects.update(request_mac=None)
    with pytest.raises(GoneError) as caught:
        append(decide(key="a"))
    assert caught.value.code == "record_disposed"


def test_it_answers_503_when_the_database_goes_away_and_the_retry_settles_it(superuser):
    from django.db import connection

    def cut_off(index, at):
        pid = connection.connection.info.backend_pid
        superuser.execute("SELECT pg_terminate_backend(%s)", [pid])

    append(decide("before"))
    with pytest.raises(UnavailableError) as caught:
        append(decide("a", key="k", apply=cut_off))
    assert caught.value.code == "ledger_unavailable"
    first = append(decide("a", key="k"))
    again = append(decide("a", key="k"))
    assert (first.index, first.replayed, again.replayed) == (1, False, True)
    assert again.receipt() == first.receipt()
    assert reader.size() == 2


def test_it_refuses_a_revoked_key_within_the_transaction():
    from dataclasses import replace

    draft = replace(decide("signed"), signed_by="pipeline", key="0" * 64)
    with pytest.raises(ForbiddenError) as caught:
        append(draft)
    assert caught.value.code == "credential_revoked"
    assert reader.size() == 0


def test_it_finds_keys_by_index_though_it_was_planned_when_there_were_none():
    for number in range(8):  # after some calls PostgreSQL keeps one plan for all
        append(decide(str(number), key=str(number)))
    append_all([decide(str(number), key=str(number)) for number in range(8, 500)])
    with transaction.atomic():
        head.lock([decide("7", key="7")])
        with connection.cursor() as cursor:
            cursor.execute("SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relname = 'evidence_idempotency'")
            assert cursor.fetchone() == (0,)
