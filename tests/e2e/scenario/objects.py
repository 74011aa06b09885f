"""The object store as any S3 program sees it."""

import os
from typing import Any

import boto3
from botocore.config import Config


def store_client() -> Any:
    return boto3.client(
        "s3",
        endpoint_url=os.environ["S3_ENDPOINT_URL"],
        region_name=os.environ["S3_REGION"],
        aws_access_key_id=os.environ["S3_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["S3_SECRET_ACCESS_KEY"],
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
    )


def kept_versions(prefix: str) -> list[str]:
    """The keys of all object versions under a prefix."""
    pages = store_client().get_paginator("list_object_versions").paginate(Bucket=os.environ["S3_BUCKET"], Prefix=prefix)
    return [version["Key"] for page in pages for version in page.get("Versions", [])]
