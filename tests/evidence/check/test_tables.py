"""`check_ledger` names rows and columns of domain tables that are not what the ledger gives."""

from datetime import UTC, datetime, timedelta

import pytest

from evidence.ledger import Actor
from evidence.ledger.check import ahead, check, run, shadow
from evidence.models import HoldItem, Release
from exceptions import lifecycle
from exceptions.models import SecurityException
from tests.cast import assemble
from tests.conftest import Clone
from tests.evidence.check.tampering import Superuser, found, grow_to, write


def test_it_names_row_and_column_of_a_changed_approval(release: Release, superuser: Superuser) -> None:
    superuser.execute("UPDATE evidence_approval SET role = 'product' WHERE index = 5")
    (deviation,) = check()
    assert deviation.where == "evidence_approval index=5, column role"
    assert deviation.detail == "the ledger gives 'qa', the table has 'product'"


def test_it_names_an_exception_whose_end_was_moved_by_a_day(ledger: Clone, superuser: Superuser) -> None:
    cast = assemble()
    application = lifecycle.Application(
        title="Old TLS on the partner gateway",
        justification="The partner upgrades in spring.",
        severity="medium",
        systems=["netlify-trading"],
        owner="charlie@example.com",
        requirements=["dependency-alerts"],
        expires_at=datetime.now(UTC) + timedelta(days=20),
    )
    lifecycle.request_exception(actor=Actor(cast.alice.uid, ("user", cast.alice.uid)), application=application)
    exception = SecurityException.objects.get()
    superuser.execute("UPDATE exceptions_securityexception SET expires_at = expires_at + interval '1 day'")
    assert found() == [("projection", f"exceptions_securityexception id={exception.id}, column expires_at")]


def test_it_names_a_changed_release(release: Release, superuser: Superuser) -> None:
    superuser.execute("UPDATE evidence_release SET captain = 'Mallory'")
    assert found() == [("projection", f"evidence_release id={release.id}, column captain")]


def test_it_names_rows_that_are_too_many_or_too_few(release: Release, superuser: Superuser) -> None:
    superuser.execute("UPDATE evidence_approval SET index = 99 WHERE index = 5")
    assert sorted(found()) == [
        ("projection", "evidence_approval index=5"),
        ("projection", "evidence_approval index=99"),
    ]


def test_it_names_a_record_made_to_count_again(release: Release, superuser: Superuser) -> None:
    superuser.execute("UPDATE evidence_record SET withdrawn_by = NULL WHERE index = 7")
    assert found() == [("projection", "evidence_record index=7, column withdrawn_by")]


def test_it_names_a_record_taken_out_of_a_hold(release: Release, superuser: Superuser) -> None:
    """What arrived while the hold stood is kept by it too, and so recomputed."""
    write(
        "hold.placed",
        {"hold": "hold_0123456789abcdef", "reason": "A claim", "system": release.system.id},
        release.system,
    )
    grow_to(release.system, 12)
    assert check() == []
    assert HoldItem.objects.filter(index=11).exists()
    superuser.execute("ALTER TABLE evidence_holditem DISABLE TRIGGER ALL")
    superuser.execute("DELETE FROM evidence_holditem WHERE index = 11")
    assert found() == [("projection", "evidence_holditem hold_id=hold_0123456789abcdef, index=11")]


def test_it_names_a_record_that_cannot_be_replayed(release: Release, superuser: Superuser) -> None:
    """And goes on with those around it."""
    superuser.execute("ALTER TABLE evidence_payload DISABLE TRIGGER ALL")
    superuser.execute(
        "UPDATE evidence_payload SET envelope = e.envelope, codec = e.codec, context = e.context"
        " FROM evidence_payload e WHERE e.index = 4 AND evidence_payload.index = 6"
    )
    names = found()
    assert ("payload", "entry 6") in names
    assert ("projection", "entry 6") in names
    assert not [where for _, where in names if "index=7" in where or "index=5" in where]


def test_it_finds_the_same_in_many_short_transactions(
    release: Release, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow_to(release.system, 600)
    monkeypatch.setattr(ahead, "RANGE", 50)
    monkeypatch.setattr(run, "TAIL", 0)
    monkeypatch.setattr(shadow, "RANGE", 50)
    assert check() == []
    superuser.execute("UPDATE evidence_record SET kind = 'drill' WHERE index = 300")
    superuser.execute("UPDATE evidence_record SET index = 9000 WHERE index = 599")
    assert sorted(found()) == [
        ("projection", "evidence_record index=300, column kind"),
        ("projection", "evidence_record index=599"),
        ("projection", "evidence_record index=9000"),
    ]
