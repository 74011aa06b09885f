"""What tests of the outside copies share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
from django.db import connections

from config.errors import ProoftrailError
from config.stack import postgres
from evidence.anchors import outside
from evidence.ledger import Actor, append_all, reader, service_draft
from evidence.ledger.check.anchors import check_anchors
from evidence.models.people import SERVICE
from evidence.tlog.merkle import tree_root
from tests import engines
from tests.conftest import Clone, _stop_appender

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def record(count: int, said: str = "a decision") -> int:
    """Append records in one batch and return the log's size."""
    body = {"title": said, "decision": "d", "rationale": "r"}
    for outcome in append_all([service_draft("decision", body, actor=Actor(SERVICE)) for _ in range(count)]):
        if isinstance(outcome, ProoftrailError):
            raise outcome
    return reader.size()


def found() -> list[str]:
    """What the check says of the anchors, one line each."""
    lines: list[str] = []
    check_anchors(
        lambda what, where, detail: lines.append(f"{what}: {where}: {detail}"),
        log_keys=outside.log_keys(),
        root_at=lambda size: tree_root(reader.leaf_hashes(0, size)),
        size=reader.size(),
    )
    return lines


def get(path: str) -> bytes:
    there = outside.writer()
    return there.client.get_object(Bucket=there.bucket, Key=there.key(path))["Body"].read()


def versions(path: str) -> list[str]:
    there = outside.writer()
    answer = there.client.list_object_versions(Bucket=there.bucket, Prefix=there.key(path))
    return [version["VersionId"] for version in answer.get("Versions", []) if version["Key"] == there.key(path)]


def client(credential: Any) -> "S3Client":
    store = engines.seaweed()
    return boto3.client(
        "s3",
        endpoint_url=store.url,
        region_name=store.region,
        aws_access_key_id=credential.access_key,
        aws_secret_access_key=credential.secret_key,
    )


@contextmanager
def backup(ledger: Clone) -> Iterator[Callable[[], None]]:
    """A copy of the database as it is; calling what this yields puts it back, as an operator would a backup."""
    server, copy = engines.server(), f"backup_{uuid4().hex}"

    def put_back() -> None:
        _disconnect()
        with server.connect() as administrator:
            administrator.execute(f"DROP DATABASE {ledger.name} WITH (FORCE)")
        postgres.ensure_database(server, ledger.name, template=copy)

    _disconnect()
    postgres.ensure_database(server, copy, template=ledger.name)
    try:
        yield put_back
    finally:
        with server.connect() as administrator:
            administrator.execute(f"DROP DATABASE {copy} WITH (FORCE)")


def _disconnect() -> None:
    """As a restart of the service would; it has then seen nothing of the log."""
    _stop_appender()
    connections.close_all()
