"""Descriptions of files, uploads, models and errors."""

from batch_gateway.core.uploads import UploadStatus
from batch_gateway.web.api.descriptions.about import (
    CREATED,
    DELETED,
    INPUT,
    PART,
    PURPOSE,
    UPLOAD,
    Fields,
    Objects,
    ObjectText,
    about,
    kind,
    moment,
    page,
)

_FILE: Fields = {
    "id": about("The id of the file.", INPUT),
    "object": kind("file"),
    "bytes": about("The size of the file.", 18_211),
    "created_at": moment("When the file was stored"),
    "expires_at": moment("When the file is deleted; null: it is kept", None, CREATED + 2_592_000),
    "filename": about("The name that the file was uploaded under.", "requests.jsonl"),
    "purpose": about("What the file is for; `batch_output`: made by a batch.", "batch"),
    "status": about("Always `processed`: a file can be used as soon as it is stored.", "processed"),
    "status_details": about("Always null.", None),
}

OBJECTS: Objects = {
    "CompleteUpload": ObjectText(
        "Joins parts to a file.",
        {
            "part_ids": about("The ids of the parts, in the order of the file.", [PART]),
            "md5": about("The MD5 of the whole file, in hex; checked where given.", None),
        },
    ),
    "CreateUpload": ObjectText(
        "A file that will come in parts.",
        {
            "bytes": about("The size of the whole file.", 268_435_456),
            "filename": about("The name of the file.", "requests.jsonl"),
            "mime_type": about("The media type of the file; not looked at.", "application/jsonl"),
            "purpose": PURPOSE,
            "expires_after": about(
                "How long the file is kept.", {"anchor": "created_at", "seconds": 2_592_000}
            ),
        },
    ),
    "ErrorBody": ObjectText("The body of every error.", {"error": about("What is wrong.")}),
    "ErrorObject": ObjectText(
        "What is wrong.",
        {
            "message": about("What is wrong, for people.", "No batch found with id 'batch_1'."),
            "type": about(
                "The cause: `invalid_request_error` means the request, `server_error` the service.",
                "invalid_request_error",
            ),
            "param": about("The field or parameter that is wrong.", "limit", None),
            "code": about("What is wrong, for programs.", "invalid_value", None),
        },
    ),
    "ExpiresAfter": ObjectText(
        "How long a file is kept.",
        {
            "anchor": about("What the time counts from.", "created_at"),
            "seconds": about("The time, from an hour to 30 days.", 604_800),
        },
    ),
    "FileDeleted": ObjectText(
        "Says that a file was deleted.",
        {
            "id": about("The id of the file.", INPUT),
            "object": kind("file"),
            "deleted": DELETED,
        },
    ),
    "FileList": ObjectText("A page of files.", page(INPUT)),
    "FileObject": ObjectText("A file.", _FILE),
    "ModelList": ObjectText("All models.", {"object": kind("list"), "data": about("The models.")}),
    "ModelObject": ObjectText(
        "A model that requests may name.",
        {
            "id": about("The name of the model, as requests give it.", "sim-large"),
            "object": kind("model"),
            "created": moment("When the model was created, if the engine reports it"),
            "owned_by": about("The owner of the model, if the engine reports it.", "vllm"),
            "shutdown_date": about("Always null.", None),
        },
    ),
    "PartObject": ObjectText(
        "A part of an upload.",
        {
            "id": about("The id of the part.", PART),
            "object": kind("upload.part"),
            "created_at": moment("When the part was stored"),
            "upload_id": about("The upload that the part belongs to.", UPLOAD),
        },
    ),
    "UploadObject": ObjectText(
        "A file that comes in parts.",
        {
            "id": about("The id of the upload.", UPLOAD),
            "object": kind("upload"),
            "bytes": about("The size of the whole file.", 268_435_456),
            "created_at": moment("When the upload was begun"),
            "expires_at": moment("Until when it can be completed", CREATED + 3_600),
            "filename": about("The name of the file.", "requests.jsonl"),
            "purpose": PURPOSE,
            "status": about(
                "`pending`: it takes parts. `completed`: it has become a file.",
                "completed",
                enum=[status.value for status in UploadStatus],
            ),
            "file": about("The file that it has become; null until then."),
        },
    ),
}
