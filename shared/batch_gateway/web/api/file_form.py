"""Parses the form of a file upload, with its fields in any order.

OpenAI's Python client sends the file last, so that its purpose is known before its bytes; others
send it first.
"""

import re
from datetime import timedelta

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.model import File
from batch_gateway.services.files.service import IncomingFile
from batch_gateway.services.request_errors import unrecognized
from batch_gateway.web.multipart import MultipartForm
from batch_gateway.web.openai import ExpiresAfter, RequestModel
from batch_gateway.web.parsing import parse


class _Expiry(RequestModel):
    expires_after: ExpiresAfter


_EXPIRES_AFTER = re.compile(r"expires_after\[(\w{1,32})\]")
_INTEGER = re.compile(r"-?[0-9]{1,1000}", re.ASCII)


async def receive_upload(form: MultipartForm, upload: IncomingFile) -> File:
    """Store the file of ``form`` and keep it. Raises InvalidRequest."""
    fields: dict[str, str] = {}
    async for part in form.parts():
        if part.name in fields or (part.name == "file" and upload.started):
            raise InvalidRequest(f"Duplicate parameter: '{part.name}'.", param=part.name)
        if part.name == "file" and part.filename is not None:
            await upload.store(part.filename, part.chunks(), purpose=fields.get("purpose"))
        elif part.name in ("purpose", "expires_after") or _EXPIRES_AFTER.fullmatch(part.name):
            fields[part.name] = await part.text()
        elif part.name == "file":
            raise InvalidRequest(
                "Invalid 'file': expected a file, but got a field without a file name.",
                param="file",
                code="invalid_type",
            )
        else:
            raise unrecognized(part.name)
    return await upload.keep(fields.get("purpose"), _expires_after(fields))


def _expires_after(fields: dict[str, str]) -> timedelta | None:
    """``expires_after`` as bracketed fields, which clients make of it, or as one JSON object."""
    bracketed = {
        match[1]: _number(fields[name])
        for name in fields
        if (match := _EXPIRES_AFTER.fullmatch(name))
    }
    if "expires_after" in fields:
        asked = parse(_Expiry, b'{"expires_after":%s}' % fields["expires_after"].encode())
    elif bracketed:
        asked = parse(_Expiry, {"expires_after": bracketed})
    else:
        return None
    return timedelta(seconds=asked.expires_after.seconds)


def _number(text: str) -> int | str:
    return int(text) if _INTEGER.fullmatch(text) else text
