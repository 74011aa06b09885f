"""The object store: any S3 with Object Lock. Callers handle botocore's errors through `unavailable()`."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.handlers import add_expect_header
from django.conf import settings

from config.errors import UnavailableError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def client() -> "S3Client":
    """One thread-safe client for each process: short timeouts, few retries."""
    return _client(
        settings.S3_ENDPOINT_URL, settings.S3_REGION, settings.S3_ACCESS_KEY_ID, settings.S3_SECRET_ACCESS_KEY
    )


def quick_client() -> "S3Client":
    """The service's own credentials, for a question that may not keep anybody waiting."""
    return _client(
        settings.S3_ENDPOINT_URL,
        settings.S3_REGION,
        settings.S3_ACCESS_KEY_ID,
        settings.S3_SECRET_ACCESS_KEY,
        connect_timeout=1,
        read_timeout=2,
        attempts=1,
    )


def anchor_client() -> "S3Client":
    """The credentials that may add anchors and nothing else; without any, what the machine's role may do.

    It sends its small objects by the thousand, and does not ask before each whether it may (``Expect: 100-continue``):
    that took another round trip and two dozen reads of one byte.
    """
    made = _client(
        settings.S3_ENDPOINT_URL,
        settings.S3_REGION,
        settings.S3_ANCHOR_ACCESS_KEY_ID,
        settings.S3_ANCHOR_SECRET_ACCESS_KEY,
        read_timeout=20,
    )
    made.meta.events.unregister("before-call.s3", add_expect_header)
    return made


@functools.cache
def _client(
    endpoint: str | None,
    region: str,
    access_key: str,
    secret_key: str,
    *,
    connect_timeout: float = 3,
    read_timeout: float = 60,
    attempts: int = 4,
) -> "S3Client":
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=access_key or None,
        aws_secret_access_key=secret_key or None,
        config=Config(
            signature_version="s3v4",
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            s3={"addressing_style": "path" if endpoint else "auto"},
        ),
    )


def bucket() -> str:
    return str(settings.S3_BUCKET)


@contextmanager
def unavailable(doing: str) -> Iterator[None]:
    """Turn an outage of the store into UnavailableError ``store_unavailable``; evidence writes never need the store."""
    try:
        yield
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) < 500:
            raise
        raise UnavailableError(
            f"The object store failed while {doing}.", code="store_unavailable", retry_after=5
        ) from error
    except BotoCoreError as error:
        raise UnavailableError(
            f"The object store cannot be reached while {doing}.", code="store_unavailable", retry_after=5
        ) from error
