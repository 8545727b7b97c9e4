"""Takes the requests out of the body of a new batch, byte for byte.

They are never decoded and encoded again: big integers, the order of keys and the spelling of
numbers reach the engine as they are.
"""

from collections.abc import Sequence

import msgspec

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.services import request_errors
from batch_gateway.web.openai import MADE_INPUT

MOST = 10_000

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")  # inside JSON they can only be between tokens


def take_requests(body: bytes) -> tuple[bytes, Sequence[bytes] | None]:
    """``body`` without its ``requests``, and these, each on one line; None when it has none.

    The parser of the body reports what is wrong with the rest. Beside ``requests``,
    ``input_file_id`` may be absent, null or empty; it becomes ``MADE_INPUT``. Raises
    InvalidRequest.
    """
    try:
        if not body.isascii():
            body.decode()  # the parser does not look into the strings that it skips
        fields = _decode_fields(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body, None
    listed = bytes(fields.pop("requests", b"null"))
    if listed == b"null":
        return (msgspec.json.encode(fields) if b"requests" in body else body), None
    if bytes(fields.get("input_file_id", b"null")) not in (b"null", b'""'):
        raise InvalidRequest(
            "Invalid 'requests': a batch has either 'requests' or 'input_file_id', not both.",
            param="requests",
            code="invalid_value",
        )
    fields["input_file_id"] = msgspec.Raw(msgspec.json.encode(MADE_INPUT))
    return msgspec.json.encode(fields), _requests(listed)


def _requests(listed: bytes) -> Sequence[bytes]:
    try:
        requests = [bytes(raw).strip().translate(_LINE_ENDS) for raw in _decode_array(listed)]
    except (msgspec.DecodeError, RecursionError):
        raise request_errors.invalid_type("requests", "an array", _json_type(listed)) from None
    if not requests:
        raise request_errors.empty_array("requests")
    if len(requests) > MOST:
        raise request_errors.array_too_long("requests", MOST, len(requests))
    for number, request in enumerate(requests):
        if not request.startswith(b"{"):
            raise request_errors.invalid_type(
                f"requests.{number}", "an object", _json_type(request)
            )
    return requests


def _json_type(raw: bytes) -> str:
    kinds = {b'"': "a string", b"[": "an array", b"{": "an object", b"n": "null"}
    kinds |= {b"t": "a boolean", b"f": "a boolean"}
    return kinds.get(raw[:1], "a number")
