"""What the check says of anchors that were taken away, hidden or covered."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from evidence.anchors import outside, publishing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

from tests.evidence.anchors.shared import found, get, record

UNTIL = datetime.now(UTC) + timedelta(days=1)
pytestmark = pytest.mark.usefixtures("ledger")


def _five_anchors() -> list[int]:
    sizes = []
    for _ in range(5):
        sizes.append(record(1))
        publishing.publish()
    assert found() == []
    return sizes


@pytest.mark.parametrize("gone", [(2, 3), (4, 5)])
def test_it_names_two_consecutive_anchors_whose_rows_are_deleted(
    anchors: "S3Client", superuser: Any, gone: tuple[int, int]
) -> None:
    _five_anchors()
    superuser.execute("SET session_replication_role = replica")
    superuser.execute("ALTER TABLE evidence_anchor DISABLE TRIGGER USER")
    assert superuser.execute("DELETE FROM evidence_anchor WHERE size = ANY(%s)", [list(gone)]).rowcount == 2
    assert found() == [
        f"anchor: checkpoints/{size}: was published, but its row is gone from the database" for size in gone
    ]


@pytest.mark.parametrize("gone", [(2, 3), (4, 5)])
def test_it_names_two_consecutive_anchors_whose_objects_are_gone(
    anchors: "S3Client", settings: Any, gone: tuple[int, int]
) -> None:
    _five_anchors()
    _copy_without(anchors, settings, gone)
    assert [line for line in found() if "is gone from the bucket" in line] == [
        f"anchor: row {size}: its object checkpoints/{size} is gone from the bucket" for size in gone
    ]


def test_it_names_anchors_gone_on_both_sides(anchors: "S3Client", settings: Any, superuser: Any) -> None:
    _five_anchors()
    _copy_without(anchors, settings, (2, 3))
    superuser.execute("ALTER TABLE evidence_anchor DISABLE TRIGGER USER")
    superuser.execute("DELETE FROM evidence_anchor WHERE size IN (2, 3)")
    assert "anchor: checkpoints/3: gone, object and row alike: anchor 4 was published after it" in found()


def _copy_without(s3: "S3Client", settings: Any, gone: tuple[int, ...]) -> None:
    """What an administrator of the store could do: a bucket whose locks nobody honours. Here it is another folder."""
    old, bucket = settings.S3_ANCHOR_PREFIX, settings.S3_ANCHOR_BUCKET
    settings.S3_ANCHOR_PREFIX = "copied-" + old
    for entry in s3.list_objects_v2(Bucket=bucket, Prefix=old)["Contents"]:
        name = entry["Key"].removeprefix(old)
        if name not in {f"checkpoints/{size}" for size in gone}:
            there = s3.get_object(Bucket=bucket, Key=entry["Key"])
            s3.put_object(
                Bucket=bucket,
                Key=settings.S3_ANCHOR_PREFIX + name,
                Body=there["Body"].read(),
                Metadata=there["Metadata"],
                ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=UNTIL,
            )


def test_it_passes_over_what_may_stand_beside_an_anchor(anchors: "S3Client") -> None:
    record(1)
    publishing.publish()
    there = outside.writer()
    there.client.put_object(Bucket=there.bucket, Key=there.key("checkpoints/1.cosigned"), Body=b"a witness's line")
    assert found() == []
    assert publishing.publish() == "nothing new since 1"


def test_it_names_what_was_hidden_covered_or_left_unlocked(anchors: "S3Client") -> None:
    record(300)
    publishing.publish()
    there = outside.writer()
    anchors.delete_object(Bucket=there.bucket, Key=there.key("checkpoints/300"))
    tile = {"Bucket": there.bucket, "Key": there.key("tile/0/000")}
    anchors.put_object(**tile, Body=sha256(b"x").digest() * 256)  # type: ignore[arg-type]  # by parts
    anchors.put_object(Bucket=there.bucket, Key=there.key("checkpoints/300"), Body=get("checkpoint"))
    anchors.delete_object(Bucket=there.bucket, Key=there.key("tile/entries/000"))
    lines = found()
    assert any("checkpoints/300: hidden by a delete marker" in line for line in lines)
    assert any("checkpoints/300: version" in line and "under no lock" in line for line in lines)
    assert "anchor: tile/0/000: is not the tile that the ledger has" in lines
    assert "anchor: tile/entries/000: gone from the bucket" in lines
