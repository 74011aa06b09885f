"""The fixtures themselves: each test gets engines of its own, closed as the product's are."""

import re
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis
from django.conf import LazySettings
from django.db import connection

from tests.conftest import Clone

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.mark.parametrize("turn", [1, 2])
def test_it_gives_each_test_a_database_where_the_runtime_role_owns_nothing(ledger: Clone, turn: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database(), current_user")
        assert cursor.fetchone() == (ledger.name, "prooftrail_runtime")
        cursor.execute(
            "SELECT count(*) FROM pg_class WHERE relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)"
        )
        assert cursor.fetchone() == (0,)
    with psycopg.connect(ledger.owner_url) as owner:
        owner.execute("CREATE TABLE marker ()")  # the other turn's would be in the way


def test_it_refuses_the_runtime_role_tables_of_its_own(ledger: Clone) -> None:
    for statement in ("CREATE TABLE mine ()", "CREATE SCHEMA mine"):
        with psycopg.connect(ledger.runtime_url) as runtime, pytest.raises(psycopg.errors.InsufficientPrivilege):
            runtime.execute(statement)


def test_it_gives_a_bucket_with_object_lock(s3: "S3Client", settings: LazySettings) -> None:
    lock = s3.get_object_lock_configuration(Bucket=settings.S3_BUCKET)
    assert lock["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"
    assert s3.get_bucket_versioning(Bucket=settings.S3_BUCKET)["Status"] == "Enabled"


def test_it_gives_an_empty_broker_that_wants_a_password(broker: str) -> None:
    with redis.Redis.from_url(broker) as client:
        assert client.dbsize() == 0
    without_password = re.sub("//.*@", "//", broker)
    with redis.Redis.from_url(without_password) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
