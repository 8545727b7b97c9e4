"""OpenAI's objects of uploads in parts (see ``web.openai``)."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field

from batch_gateway.core.filenames import LONGEST_NAME
from batch_gateway.core.model import File
from batch_gateway.core.uploads import Upload, UploadPart
from batch_gateway.services.files.uploads import MOST_PARTS, NewUpload
from batch_gateway.web.openai import ExpiresAfter, FileObject, RequestModel, Text


class CreateUpload(RequestModel):
    bytes: Annotated[int, Field(ge=1)]
    filename: Annotated[Text, Field(min_length=1, max_length=LONGEST_NAME)]
    mime_type: Annotated[Text, Field(max_length=256)]  # required by the contract; not used
    purpose: str
    expires_after: ExpiresAfter | None = None

    def new_upload(self) -> NewUpload:
        expiry = self.expires_after
        return NewUpload(
            filename=self.filename,
            purpose=self.purpose,
            size=self.bytes,
            file_lifetime_s=None if expiry is None else expiry.seconds,
        )


class CompleteUpload(RequestModel):
    part_ids: Annotated[list[Annotated[Text, Field(max_length=256)]], Field(max_length=MOST_PARTS)]
    md5: str | None = None


class PartObject(BaseModel):
    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str

    @classmethod
    def of(cls, part: UploadPart) -> Self:
        return cls(id=part.id, created_at=int(part.created_at.timestamp()), upload_id=part.upload)


class UploadObject(BaseModel):
    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: str
    file: FileObject | None

    @classmethod
    def of(cls, upload: Upload, file: File | None = None) -> Self:
        return cls(
            id=upload.id,
            bytes=upload.size,
            created_at=int(upload.created_at.timestamp()),
            expires_at=int(upload.expires_at.timestamp()),
            filename=upload.filename,
            purpose=upload.purpose,
            status=upload.status.value,
            file=None if file is None else FileObject.of(file),
        )
