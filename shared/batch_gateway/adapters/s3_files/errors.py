"""Translates errors of boto3."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from batch_gateway.core.errors import NotFound, StorageFull, Unavailable

#: MinIO for full drives and a bucket's quota (``cmd/api-errors.go``), and Ceph for quotas.
_FULL = frozenset({"XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded"})
_INSUFFICIENT_STORAGE = 507  # RFC 4918


def code(error: ClientError) -> str:
    """S3's error code; for HEAD, whose answer has no body, the HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status(error: ClientError) -> int:
    """HTTP status; 0: the answer had none."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def translated(where: str, *, reading: str | None = None) -> Iterator[None]:
    """Raise the driver's errors as ours. ``where`` names the bucket in messages.

    Only the absence of a blob that is read (``reading``: its key) is NotFound. A missing bucket,
    a vanished upload or a refused key pair is the server's trouble and may pass.
    """
    try:
        yield
    except ClientError as error:
        if reading is not None and code(error) in ("NoSuchKey", "404"):
            raise NotFound(f"no blob {reading}") from None
        if code(error) in _FULL or status(error) == _INSUFFICIENT_STORAGE:
            raise StorageFull(f"{where} is full: {error}") from error
        raise Unavailable(f"{where}: {error}") from error
    except (KeyError, ValueError) as error:  # botocore's parser, of an answer that was cut
        raise Unavailable(f"{where} sent an answer that cannot be read: {error!r}") from error
    except (BotoCoreError, OSError) as error:
        raise Unavailable(f"{where}: {error}") from error
