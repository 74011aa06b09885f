"""A ledger behind what was published, or beside it, takes no evidence and says why."""

from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from config.errors import UnavailableError
from evidence import anchors as outside_copies
from evidence import tasks
from evidence.anchors import publishing
from evidence.ledger import reader
from evidence.models import Standing
from tests.conftest import Clone

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

from tests.evidence.anchors.shared import backup, found, record, versions

DECISION = {"kind": "decision", "body": {"title": "t", "decision": "d", "rationale": "r"}}
pytestmark = pytest.mark.usefixtures("ledger")


def test_a_restored_older_copy_is_found_before_it_writes(anchors: "S3Client", ledger: Clone) -> None:
    record(3)
    with backup(ledger) as put_back:
        record(2)
        publishing.publish()
        put_back()
    with pytest.raises(UnavailableError, match="holds 3 records, but a checkpoint over 5") as refused:
        record(1)
    assert (refused.value.code, refused.value.retry_after) == ("ledger_behind_anchor", 60)
    assert reader.size() == 3
    assert Standing.objects.get().read_only_code == "ledger_behind_anchor"
    assert found() == [
        "anchor: checkpoints/5: covers 5 entries, the ledger holds 3: an older copy was restored, or the end cut off"
    ]


def test_it_says_everywhere_that_it_is_read_only_and_takes_evidence_again_by_itself(
    anchors: "S3Client", ledger: Clone, api: Any, cast: Any, broker: str
) -> None:
    with backup(ledger) as put_back:
        newest = record(2)
        publishing.publish()
        with backup(ledger) as put_forward:
            put_back()
            tasks.publish_anchor()
            refused = api.post(
                "records", {"kind": "decision", "body": {"title": "t", "decision": "d", "rationale": "r"}}
            )
            assert (refused.status_code, refused.json()["code"]) == (503, "ledger_behind_anchor")
            assert refused["Retry-After"] == "60"
            ready = Client().get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "read-only")
            assert ready.json()["code"] == "ledger_behind_anchor"
            assert f"a checkpoint over {newest} was published outside" in ready.json()["reason"]
            assert ready.json()["engines"]["ledger"] == "read-only: ledger_behind_anchor"
            browser = Client()
            browser.force_login(cast.root)
            for page in ("/admin/", "/admin/evidence/record/"):
                shown = browser.get(page).content.decode()
                assert "Read-only since" in shown
                assert f"a checkpoint over {newest} was published outside" in shown
            put_forward()
    tasks.publish_anchor()
    assert outside_copies.current() is None
    assert api.post("records", DECISION).status_code == 201
    assert Client().get("/readyz").status_code == 200
    assert "Read-only since" not in browser.get("/admin/").content.decode()


def test_a_fork_signed_with_the_real_key_is_found(anchors: "S3Client", ledger: Clone, settings: Any) -> None:
    record(3)
    with backup(ledger) as put_back:
        record(2)
        publishing.publish()
        put_back()
    bucket, settings.S3_ANCHOR_BUCKET = settings.S3_ANCHOR_BUCKET, ""  # whoever forks does not ask the bucket
    assert record(6, "another story") == 9
    settings.S3_ANCHOR_BUCKET = bucket
    with pytest.raises(CommandError, match="ledger_forked"):
        call_command("publish_anchor")
    assert Standing.objects.get().read_only_code == "ledger_forked"
    with pytest.raises(UnavailableError, match="does not continue") as refused:
        record(1)
    assert refused.value.code == "ledger_forked"
    assert versions("checkpoints/9") == []
    (line,) = found()
    assert line.startswith("anchor: checkpoints/5: its root is ")
    assert "rewritten after it was published" in line


def test_a_fork_of_the_published_size_itself_is_found(anchors: "S3Client", ledger: Clone, settings: Any) -> None:
    record(3)
    with backup(ledger) as put_back:
        record(2)
        publishing.publish()
        put_back()
    bucket, settings.S3_ANCHOR_BUCKET = settings.S3_ANCHOR_BUCKET, ""
    record(2, "another story")
    settings.S3_ANCHOR_BUCKET = bucket
    assert publishing.publish().startswith("read-only, ledger_forked: ")
