"""Error responses for invalid requests, with OpenAI's messages."""

from collections.abc import Sequence

from batch_gateway.core.errors import InvalidRequest
from batch_gateway.core.excerpts import excerpt


def missing(param: str) -> InvalidRequest:
    return InvalidRequest(
        f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
    )


def unrecognized(name: str) -> InvalidRequest:
    return InvalidRequest(f"Unrecognized request argument supplied: {excerpt(name)}")


def invalid_value(value: str, supported: Sequence[str], *, param: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid value: '{excerpt(value)}'. Supported values are: {_enumerated(supported)}.",
        param=param,
        code="invalid_value",
    )


def invalid_type(param: str, expected: str, got: str) -> InvalidRequest:
    """``expected`` and ``got`` with their articles, such as ``a string``."""
    return InvalidRequest(
        f"Invalid type for '{param}': expected {expected}, but got {got} instead.",
        param=param,
        code="invalid_type",
    )


def below_minimum(param: str, minimum: int, got: int) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{param}': integer below minimum value. Expected a value >= {minimum}, "
        f"but got {excerpt(got)} instead.",
        param=param,
        code="integer_below_min_value",
    )


def above_maximum(param: str, maximum: int, got: int) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{param}': integer above maximum value. Expected a value <= {maximum}, "
        f"but got {excerpt(got)} instead.",
        param=param,
        code="integer_above_max_value",
    )


def too_long(param: str, maximum: int, got: int) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{param}': string too long. Expected a string with maximum length {maximum}, "
        f"but got a string with length {got} instead.",
        param=param,
        code="string_above_max_length",
    )


def empty_string(param: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{param}': empty string. Expected a string with minimum length 1, but got an "
        "empty string instead.",
        param=param,
        code="empty_string",
    )


def nul(param: str) -> InvalidRequest:
    """The one character that no database stores."""
    return InvalidRequest(
        f"Invalid '{param}': it contains the character NUL.", param=param, code="invalid_value"
    )


def empty_array(param: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an "
        "empty array instead.",
        param=param,
        code="empty_array",
    )


def array_too_long(param: str, maximum: int, got: int) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{param}': array too long. Expected an array with maximum length {maximum}, "
        f"but got an array with length {got} instead.",
        param=param,
        code="array_above_max_length",
    )


def too_many_properties(param: str, maximum: int, got: int) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{param}': too many properties. Expected an object with at most {maximum} "
        f"properties, but got an object with {got} properties instead.",
        param=param,
        code="object_above_max_properties",
    )


def _enumerated(values: Sequence[str]) -> str:
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return f"{', '.join(quoted[:-1])}, and {quoted[-1]}"
