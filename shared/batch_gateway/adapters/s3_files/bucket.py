"""One bucket, as blocking calls: the configuration of boto3.

Blobs have our keys; names in the bucket have the store's prefix before them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

from botocore.exceptions import ClientError

from batch_gateway.adapters.s3_files.errors import code, translated
from batch_gateway.adapters.s3_files.upload import BlobUpload, sha256
from batch_gateway.core.errors import Unavailable
from batch_gateway.ports.files import BlobStat

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import GetObjectRequestTypeDef

DELETED_AT_ONCE = 1000  # S3's limit of one DeleteObjects
_PROBE = ".probe"  # no blob's key: their segments do not begin with a dot


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobVersion:
    """What identifies one version of a blob."""

    size: int  # bytes
    etag: str


class S3Bucket:
    """Safe to use from several threads at once."""

    def __init__(self, client: "S3Client", bucket: str, prefix: str, where: str) -> None:
        """``where`` names the bucket in error messages."""
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._where = where

    def put(self, key: str, content: bytearray) -> None:
        """Store a blob of at most one part."""
        with translated(self._where):
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + key,
                Body=cast(bytes, content),  # boto3 takes a bytearray; its stubs do not know
                ChecksumSHA256=sha256(content),
            )

    def upload(self, key: str, *, id_: str | None = None) -> BlobUpload:
        """An upload in parts; ``id_`` when it has begun already."""
        return BlobUpload(self._client, self._bucket, self._prefix + key, self._where, id_=id_)

    def name(self, key: str) -> str:
        """What the blob ``key`` is called in the bucket."""
        return self._prefix + key

    def head(self, key: str) -> BlobVersion:
        with translated(self._where, reading=key):
            found = self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
            return BlobVersion(size=found["ContentLength"], etag=found["ETag"])

    def get(
        self, key: str, start: int, end: int | None, etag: str | None
    ) -> "tuple[StreamingBody, str] | None":
        """Bytes ``start`` to ``end`` (exclusive, None: all) as a stream, and the blob's etag.

        None when the blob ends before ``start``. With ``etag`` it must still be that version.
        """
        asked: GetObjectRequestTypeDef = {"Bucket": self._bucket, "Key": self._prefix + key}
        if start or end is not None:
            asked["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if etag is not None:
            asked["IfMatch"] = etag
        with translated(self._where, reading=key):
            try:
                found = self._client.get_object(**asked)
            except ClientError as error:
                if code(error) != "InvalidRange":
                    raise
                return None
            return found["Body"], found["ETag"]

    def pages(self, prefix: str) -> Iterator[list[BlobStat]]:
        """Blobs under ``prefix``, ascending by key, up to 1000 at a time.

        The order is the server's. Some (SeaweedFS) list folder by folder, which is the same as
        long as no folder's name begins with another's; ids of one length never do.
        """
        paginator = self._client.get_paginator("list_objects_v2")
        with translated(self._where):
            for page in paginator.paginate(Bucket=self._bucket, Prefix=self._prefix + prefix):
                yield [
                    BlobStat(
                        key=found["Key"].removeprefix(self._prefix),
                        size=found["Size"],
                        modified_at=found["LastModified"],
                    )
                    for found in page.get("Contents", ())
                ]

    def delete(self, keys: Sequence[str]) -> None:
        """Remove at most DELETED_AT_ONCE blobs; those that are not there are no error."""
        with translated(self._where):
            answer = self._client.delete_objects(
                Bucket=self._bucket,
                Delete={"Objects": [{"Key": self._prefix + key} for key in keys], "Quiet": True},
            )
        failed = [error for error in answer.get("Errors", ()) if error.get("Code") != "NoSuchKey"]
        if failed:
            first = failed[0]
            raise Unavailable(
                f"{self._where}: {len(failed)} of {len(keys)} blobs were not deleted, first"
                f" {first.get('Key')}: {first.get('Code')} {first.get('Message')}"
            )

    def sweep(self, before: datetime) -> int:
        """Abort uploads that began before ``before``; how many."""
        paginator = self._client.get_paginator("list_multipart_uploads")
        aborted = 0
        with translated(self._where):
            for page in paginator.paginate(Bucket=self._bucket, Prefix=self._prefix):
                for found in page.get("Uploads", ()):
                    if found["Initiated"] < before:
                        key = found["Key"].removeprefix(self._prefix)
                        aborted += self.upload(key, id_=found["UploadId"]).abort()
        return aborted

    def probe(self) -> None:
        """Begin an upload and abort it: needs the right to write, and leaves not even a version."""
        upload = self.upload(_PROBE)
        upload.begin()
        upload.abort()

    def close(self) -> None:
        self._client.close()
