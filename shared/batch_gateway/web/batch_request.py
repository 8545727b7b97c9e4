"""Validates the data of a ``batch.requested`` event (its schema: ``web.requested_schema``)."""

import msgspec

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.services.intake import IntakeRequest
from batch_gateway.web.extensions import CreateExtendedBatch
from batch_gateway.web.inline import take_requests
from batch_gateway.web.openai import MADE_INPUT
from batch_gateway.web.parsing import parse

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def asked(data: bytes) -> IntakeRequest:
    """The request that ``data`` contains. Raises InvalidRequest."""
    rest, uri = _take_object(data)
    rest, requests = take_requests(rest)
    new = parse(CreateExtendedBatch, rest).new_batch()
    return IntakeRequest(new=new, requests=requests, object=uri)


def _take_object(data: bytes) -> tuple[bytes, str | None]:
    """``data`` without its ``object``; the id of the input file is then ``MADE_INPUT``."""
    try:
        fields = _decode_fields(data)
        uri = msgspec.json.decode(fields.pop("object", b"null"), type=str | None)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return data, None  # its parser reports what is wrong
    if uri is None:
        return data if b'"object"' not in data else msgspec.json.encode(fields), None
    for other in ("input_file_id", "requests"):
        if bytes(fields.get(other, b"null")) not in (b"null", b'""'):
            raise InvalidRequest(
                f"Invalid 'object': a batch has either 'object' or '{other}', not both.",
                param="object",
                code="invalid_value",
            )
    fields["input_file_id"] = msgspec.Raw(msgspec.json.encode(MADE_INPUT))
    return msgspec.json.encode(fields), uri
