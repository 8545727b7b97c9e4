"""What boto3's errors mean to us: the one place that reads them."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from batch_gateway.core.errors import NotFound, Unavailable


def code(error: ClientError) -> str:
    """S3's error code; for HEAD, whose answer has no body, the HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


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
        raise Unavailable(f"{where}: {error}") from error
    except (BotoCoreError, OSError) as error:
        raise Unavailable(f"{where}: {error}") from error
