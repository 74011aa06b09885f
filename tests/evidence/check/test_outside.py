"""What is consistent in itself, and named all the same: the check asks the copies outside."""

from typing import Any

import pytest

from evidence.anchors import publishing
from evidence.ledger.check import check
from evidence.models import Release
from tests.conftest import Clone
from tests.evidence.anchors.shared import backup
from tests.evidence.check.tampering import Superuser, cut_to, found, grow_to

pytestmark = pytest.mark.usefixtures("anchors")


def test_it_finds_nothing_where_everything_is_published(release: Release) -> None:
    grow_to(release.system, 300)
    publishing.publish()
    grow_to(release.system, 310)
    assert check() == []


def test_it_names_the_anchor_of_a_last_entry_that_was_cut_off(release: Release, superuser: Superuser) -> None:
    """Entry, payload, rows and checkpoint are gone, the head is what it was before, and so are the anchors' rows."""
    grow_to(release.system, 10)
    publishing.publish()
    cut_to(superuser, 9)
    superuser.execute("ALTER TABLE evidence_anchor DISABLE TRIGGER ALL")
    superuser.execute("DELETE FROM evidence_anchor")
    names = {one.where: one.detail for one in check() if one.what == "anchor"}
    assert names["checkpoints/10"].startswith("covers 10 entries, the ledger holds 9")


def test_it_names_the_anchor_that_an_older_backup_lacks(release: Release, ledger: Clone) -> None:
    with backup(ledger) as put_back:
        grow_to(release.system, 12)
        publishing.publish()
        put_back()
    assert [what for what, _ in found()] == ["anchor"]
    assert check()[0].detail.startswith("covers 12 entries, the ledger holds 9: an older copy was restored")


def test_it_names_the_anchor_that_a_fork_contradicts(release: Release, ledger: Clone, settings: Any) -> None:
    """Another history, every record and checkpoint of it signed with the real keys."""
    with backup(ledger) as put_back:
        grow_to(release.system, 12)
        publishing.publish()
        put_back()
    bucket, settings.S3_ANCHOR_BUCKET = settings.S3_ANCHOR_BUCKET, ""
    grow_to(release.system, 15)
    assert {what for what, _ in found()} <= {"anchor"}
    settings.S3_ANCHOR_BUCKET = bucket
    (deviation,) = check()
    assert (deviation.what, deviation.where) == ("anchor", "checkpoints/12")
    assert "rewritten after it was published" in deviation.detail


def test_it_names_two_consecutive_anchors_whose_rows_were_deleted(release: Release, superuser: Superuser) -> None:
    for size in (10, 11, 12, 13):
        grow_to(release.system, size)
        publishing.publish()
    superuser.execute("ALTER TABLE evidence_anchor DISABLE TRIGGER ALL")
    assert superuser.execute("DELETE FROM evidence_anchor WHERE size IN (11, 12)").rowcount == 2
    assert found() == [("anchor", "checkpoints/11"), ("anchor", "checkpoints/12")]
