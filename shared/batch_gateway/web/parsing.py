"""Validates bodies and query parameters, with OpenAI's error messages."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.excerpts import excerpt
from batch_gateway.services import request_errors

M = TypeVar("M", bound=BaseModel)

_ID = re.compile(r"[!-~]{1,256}", re.ASCII)
_OFFSET = re.compile(r"[0-9]{1,9}", re.ASCII)
_INTEGER = re.compile(r"-?[0-9]{1,1000}", re.ASCII)  # Python reads 4300 digits at most

#: pydantic's name of an error -> what was expected.
_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "bool_type": "a boolean",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "list_type": "an array",
}


def parse(kind: type[M], body: bytes | Mapping[str, object]) -> M:
    """``body`` as a ``kind``. Raises InvalidRequest for the first thing that is wrong with it.

    Unknown keys come before all else: when one is misspelt, that is the better hint than the
    right one's absence.
    """
    try:
        if isinstance(body, bytes):
            return kind.model_validate_json(body)
        return kind.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False)
        unknown = (each for each in found if each["type"] == "extra_forbidden")
        raise refusal(next(unknown, found[0])) from None


def refusal(error: ErrorDetails) -> InvalidRequest:
    """OpenAI's words for pydantic's finding."""
    param = excerpt(".".join(str(step) for step in error["loc"] if step != "[key]"))
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "json_invalid":
        return InvalidRequest("We could not parse the JSON body of your request.")
    if kind == "missing":
        return request_errors.missing(param)
    if kind == "extra_forbidden":
        return request_errors.unrecognized(param)
    if kind in _EXPECTED:
        return request_errors.invalid_type(param or "body", _EXPECTED[kind], _json_type(given))
    if kind == "literal_error":
        return InvalidRequest(
            f"Invalid value: '{excerpt(given)}'. Supported values are: {context['expected']}.",
            param=param,
            code="invalid_value",
        )
    if kind == "greater_than_equal":
        return request_errors.below_minimum(param, context["ge"], given)
    if kind == "less_than_equal":
        return request_errors.above_maximum(param, context["le"], given)
    if kind == "string_too_long":
        return request_errors.too_long(param, context["max_length"], len(given))
    if kind == "string_too_short":  # none needs more than one character
        return request_errors.empty_string(param)
    if kind == "string_pattern_mismatch":  # there is only one pattern
        return request_errors.nul(param)
    if kind == "too_long":
        too_many = (
            request_errors.array_too_long
            if isinstance(given, list)
            else request_errors.too_many_properties
        )
        return too_many(param, context["max_length"], len(given))
    if kind == "too_short" and given == []:
        return request_errors.empty_array(param)
    return InvalidRequest(f"Invalid '{param}': {error['msg']}.", param=param, code="invalid_value")


def plain_id(text: str) -> str | None:
    """``text`` if it could be an id of ours; None otherwise, so nothing odd reaches a database."""
    return text if _ID.fullmatch(text) else None


def integer(
    query: Mapping[str, str], name: str, *, default: int, minimum: int, maximum: int
) -> int:
    """A query parameter within its bounds. Raises InvalidRequest."""
    text = query.get(name)
    if text is None:
        return default
    if not _INTEGER.fullmatch(text):
        raise request_errors.invalid_type(name, "an integer", "a string")
    value = int(text)
    if value < minimum:
        raise request_errors.below_minimum(name, minimum, value)
    if value > maximum:
        raise request_errors.above_maximum(name, maximum, value)
    return value


def cursor(query: Mapping[str, str], *, offsets: bool) -> tuple[str | None, int] | None:
    """The id in ``after`` and the number of items to pass over; None when it can be no id.

    With ``offsets``, ``after`` may be a number of items, as at some other gateways: no id of ours
    is a number.
    """
    after = query.get("after")
    if after is None:
        return None, 0
    if offsets and _OFFSET.fullmatch(after):
        return None, int(after)
    return None if plain_id(after) is None else (after, 0)


def choice(query: Mapping[str, str], name: str, values: Sequence[str], *, default: str) -> str:
    """A query parameter that is one of ``values``. Raises InvalidRequest."""
    value = query.get(name, default)
    if value not in values:
        raise request_errors.invalid_value(value, values, param=name)
    return value


def _json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal"
        case str():
            return "a string"
        case list():
            return "an array"
    return "an object"
