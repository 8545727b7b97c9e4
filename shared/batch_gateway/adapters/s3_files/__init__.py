"""FileStore on an S3-compatible bucket.

boto3 costs more than half a second to import, which every cold start would pay; so it and all
that builds on it are imported when a store is opened.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batch_gateway.adapters.s3_files.store import S3Files


def open_s3(
    bucket: str,
    prefix: str = "",
    *,
    endpoint: str | None = None,
    region: str = "us-east-1",
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    on_full: Callable[[], None] = lambda: None,
) -> "S3Files":
    """A store under ``prefix`` of ``bucket``. Speaks to no server yet; takes about half a second.

    ``endpoint`` is the URL of an S3-compatible store (addressed by path), None for AWS itself.
    Without keys the usual AWS credential chain is asked. ``on_full`` is called when the store took
    no more.
    """
    import boto3
    from botocore.config import Config

    from batch_gateway.adapters.s3_files.bucket import S3Bucket
    from batch_gateway.adapters.s3_files.store import THREADS, S3Files

    config = Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 4},
        max_pool_connections=THREADS,
        s3={"addressing_style": "path"} if endpoint else None,
        # We send checksums of our own; not every store supports the ones that boto3 would add.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=config,
    )
    where = f"S3 bucket {bucket} at {endpoint or f'AWS ({region})'}"
    return S3Files(S3Bucket(client, bucket, prefix, where), on_full)
