"""Who may do what to an anchor, in the bucket and in the database."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from botocore.exceptions import ClientError

from evidence.anchors import outside, publishing
from evidence.models import Anchor
from tests import engines
from tests.conftest import Clone

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

from tests.evidence.anchors.shared import client, found, get, record, versions

pytestmark = pytest.mark.usefixtures("ledger")

UNTIL = datetime.now(UTC) + timedelta(days=1)


Attempt = Callable[["S3Client", dict[str, str]], object]
#: What neither pair of keys may do to an anchor; `where` is its bucket and key.
TO_AN_ANCHOR: dict[str, Attempt] = {
    "hide": lambda s3, where: s3.delete_object(**where),  # type: ignore[arg-type]  # by parts
    "delete": lambda s3, where: s3.delete_object(**where, VersionId=versions("checkpoints/1")[0]),  # type: ignore[arg-type]
    "shorten its lock": lambda s3, where: s3.put_object_retention(
        **where,  # type: ignore[arg-type]  # by parts
        VersionId=versions("checkpoints/1")[0],
        Retention={"Mode": "COMPLIANCE", "RetainUntilDate": UNTIL},
    ),
    "suspend versions": lambda s3, where: s3.put_bucket_versioning(
        Bucket=where["Bucket"], VersioningConfiguration={"Status": "Suspended"}
    ),
    "let it expire": lambda s3, where: s3.put_bucket_lifecycle_configuration(
        Bucket=where["Bucket"],
        LifecycleConfiguration={
            "Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]
        },
    ),
    "delete the bucket": lambda s3, where: s3.delete_bucket(Bucket=where["Bucket"]),
}
#: What the keys of the anchors may not do to the service's bucket, and the service's not to that of the anchors.
TO_THE_OTHERS: dict[str, Attempt] = {
    "write": lambda s3, where: s3.put_object(**where, Body=b"x"),  # type: ignore[arg-type]  # by parts
    "delete": lambda s3, where: s3.delete_object(**where),  # type: ignore[arg-type]  # by parts
    "begin a large one": lambda s3, where: s3.create_multipart_upload(**where),  # type: ignore[arg-type]  # by parts
}


def refused(attempt: Attempt, s3: "S3Client", where: dict[str, str]) -> bool:
    try:
        attempt(s3, where)
    except ClientError as error:
        return error.response["Error"]["Code"] == "AccessDenied"
    return False


def test_it_lets_nobody_take_an_anchor_away(anchors: "S3Client") -> None:
    record(1)
    publishing.publish()
    there, kept = outside.writer(), get("checkpoints/1")
    where = {"Bucket": there.bucket, "Key": there.key("checkpoints/1")}
    keys = engines.seaweed().credentials
    for name, attempt in TO_AN_ANCHOR.items():
        for credential in (keys.anchors, keys.service):
            assert refused(attempt, client(credential), where), (name, credential)
    assert get("checkpoints/1") == kept


def test_it_keeps_an_anchor_even_from_who_made_the_bucket(anchors: "S3Client") -> None:
    record(1)
    publishing.publish()
    there = outside.writer()
    where = {"Bucket": there.bucket, "Key": there.key("checkpoints/1")}
    for name in ("delete", "shorten its lock"):
        assert refused(TO_AN_ANCHOR[name], anchors, where), name
    assert found() == []


def test_it_keeps_the_buckets_apart(anchors: "S3Client") -> None:
    keys = engines.seaweed().credentials
    for credential, bucket in ((keys.anchors, engines.BUCKET), (keys.service, engines.ANCHOR_BUCKET)):
        for name, attempt in TO_THE_OTHERS.items():
            assert refused(attempt, client(credential), {"Bucket": bucket, "Key": "some/key"}), (name, bucket)
    with pytest.raises(ClientError, match="AccessDenied"):
        client(keys.anchors).list_objects_v2(Bucket=engines.BUCKET)


_NO_RIGHT, _BY_TRIGGER, _BY_CHECK = "42501", "23001", "23514"
REFUSED = {
    "change an anchor": ("UPDATE evidence_anchor SET previous = NULL", _NO_RIGHT),
    "delete an anchor": ("DELETE FROM evidence_anchor", _NO_RIGHT),
    "truncate the anchors": ("TRUNCATE evidence_anchor", _NO_RIGHT),
    "an anchor without a checkpoint": (
        "INSERT INTO evidence_anchor VALUES (1, sha256('x'), NULL, 'k', 'v', now())",
        _BY_TRIGGER,
    ),
    "an anchor with another root": (
        "INSERT INTO evidence_anchor VALUES (3, sha256('x'), NULL, 'k', 'v', now())",
        _BY_TRIGGER,
    ),
    "a second standing": ("INSERT INTO evidence_standing VALUES (2, '', '', NULL)", _NO_RIGHT),
    "no standing": ("DELETE FROM evidence_standing", _NO_RIGHT),
    "a standing without reason": ("UPDATE evidence_standing SET read_only_code = 'x'", _BY_CHECK),
}


def test_the_database_refuses(anchors: "S3Client", ledger: Clone) -> None:
    record(2)
    publishing.publish()
    record(1)
    with psycopg.connect(ledger.runtime_url, autocommit=True) as runtime:
        for name, (statement, state) in REFUSED.items():
            with pytest.raises(psycopg.Error) as refused:
                runtime.execute(statement)
            assert refused.value.sqlstate == state, name
    with psycopg.connect(ledger.owner_url, autocommit=True) as owner:
        for statement in ("UPDATE evidence_anchor SET previous = NULL", "DELETE FROM evidence_anchor"):
            with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
                owner.execute(statement)
    assert list(Anchor.objects.values_list("size", flat=True)) == [2]
