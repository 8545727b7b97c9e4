"""One multipart upload, as blocking calls."""

import base64
import hashlib
from typing import TYPE_CHECKING, Protocol, cast

from botocore.exceptions import ClientError

from batch_gateway.adapters.s3_files.errors import code, translated

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART = 6 * 1024 * 1024  # bytes; S3 takes 10,000 parts of at least 5 MiB: blobs of up to 58 GiB


class BlobPartUpload(Protocol):
    """Puts one part of an upload in its place."""

    def __call__(self, *, number: int) -> None: ...


class BlobUpload:
    """A blob that is sent in parts: unseen until it is complete, gone when it is aborted.

    Parts may be put from several threads at once.
    """

    def __init__(
        self, client: "S3Client", bucket: str, name: str, where: str, *, id_: str | None = None
    ) -> None:
        """``id_`` is S3's id of an upload that has begun, None: it has not."""
        self._client = client
        self._bucket = bucket
        self._name = name
        self._where = where
        self._id = id_
        self._parts: dict[int, CompletedPartTypeDef] = {}

    def begin(self) -> None:
        with translated(self._where):
            begun = self._client.create_multipart_upload(
                Bucket=self._bucket, Key=self._name, ChecksumAlgorithm="SHA256"
            )
            self._id = begun["UploadId"]

    def begin_copy(self) -> None:
        """As ``begin``, for ``copy`` and ``put_plain``: the store copies what it has checked."""
        with translated(self._where):
            begun = self._client.create_multipart_upload(Bucket=self._bucket, Key=self._name)
            self._id = begun["UploadId"]

    def copy(self, source: str, start: int, end: int, *, number: int) -> None:
        """Make part ``number`` of bytes ``start`` to ``end`` of the object ``source``.

        The store does that by itself. Raises NotFound.
        """
        assert self._id is not None, "copy before begin"
        with translated(self._where, reading=source):
            taken = self._client.upload_part_copy(
                Bucket=self._bucket,
                Key=self._name,
                UploadId=self._id,
                PartNumber=number,
                CopySource={"Bucket": self._bucket, "Key": source},
                CopySourceRange=f"bytes={start}-{end - 1}",
            )
            self._parts[number] = {"PartNumber": number, "ETag": taken["CopyPartResult"]["ETag"]}

    def put_plain(self, content: bytearray, *, number: int) -> None:
        """Send part ``number`` among others that are copied."""
        assert self._id is not None, "put_plain before begin"
        with translated(self._where):
            taken = self._client.upload_part(
                Bucket=self._bucket,
                Key=self._name,
                UploadId=self._id,
                PartNumber=number,
                Body=cast(bytes, content),  # boto3 takes a bytearray; its stubs do not know
                ContentMD5=md5(content),
            )
            self._parts[number] = {"PartNumber": number, "ETag": taken["ETag"]}

    def put(self, content: bytearray, *, number: int) -> None:
        """Send part ``number``, counted from 1. All but the last have the same size."""
        assert self._id is not None, "put before begin"
        checksum = sha256(content)
        with translated(self._where):
            taken = self._client.upload_part(
                Bucket=self._bucket,
                Key=self._name,
                UploadId=self._id,
                PartNumber=number,
                Body=cast(bytes, content),  # boto3 takes a bytearray; its stubs do not know
                ChecksumSHA256=checksum,
            )
            self._parts[number] = {
                "PartNumber": number,
                "ETag": taken["ETag"],
                "ChecksumSHA256": checksum,
            }

    def complete(self) -> None:
        assert self._id is not None, "complete before begin"
        with translated(self._where):
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self._name,
                UploadId=self._id,
                MultipartUpload={"Parts": [self._parts[number] for number in sorted(self._parts)]},
            )

    def abort(self) -> bool:
        """Forget the parts; whether there was anything to abort. No put may be running."""
        if self._id is None:
            return False
        with translated(self._where):
            try:
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=self._name, UploadId=self._id
                )
            except ClientError as error:
                if code(error) != "NoSuchUpload":
                    raise
                return False
        return True


def md5(content: bytes | bytearray) -> str:
    """As S3 requires: base64. Guards against broken lines, not against malice."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def sha256(content: bytes | bytearray) -> str:
    """As S3 requires: base64."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode()
