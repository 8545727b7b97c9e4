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
    problem, expected = "integer below minimum value", f"a value >= {minimum}"
    return _unexpected(param, problem, expected, excerpt(got), "integer_below_min_value")


def above_maximum(param: str, maximum: int, got: int) -> InvalidRequest:
    problem, expected = "integer above maximum value", f"a value <= {maximum}"
    return _unexpected(param, problem, expected, excerpt(got), "integer_above_max_value")


def too_long(param: str, maximum: int, got: int) -> InvalidRequest:
    expected, found = f"a string with maximum length {maximum}", f"a string with length {got}"
    return _unexpected(param, "string too long", expected, found, "string_above_max_length")


def empty_string(param: str) -> InvalidRequest:
    expected, found = "a string with minimum length 1", "an empty string"
    return _unexpected(param, "empty string", expected, found, "empty_string")


def empty_array(param: str) -> InvalidRequest:
    expected, found = "an array with minimum length 1", "an empty array"
    return _unexpected(param, "empty array", expected, found, "empty_array")


def array_too_long(param: str, maximum: int, got: int) -> InvalidRequest:
    expected, found = f"an array with maximum length {maximum}", f"an array with length {got}"
    return _unexpected(param, "array too long", expected, found, "array_above_max_length")


def too_many_properties(param: str, maximum: int, got: int) -> InvalidRequest:
    expected = f"an object with at most {maximum} properties"
    found = f"an object with {got} properties"
    return _unexpected(param, "too many properties", expected, found, "object_above_max_properties")


def nul(param: str) -> InvalidRequest:
    """The one character that no database stores."""
    return InvalidRequest(
        f"Invalid '{param}': it contains the character NUL.", param=param, code="invalid_value"
    )


def _unexpected(param: str, problem: str, expected: str, found: str, code: str) -> InvalidRequest:
    return InvalidRequest(
        f"Invalid '{param}': {problem}. Expected {expected}, but got {found} instead.",
        param=param,
        code=code,
    )


def _enumerated(values: Sequence[str]) -> str:
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return " and ".join(quoted)
    return f"{', '.join(quoted[:-1])}, and {quoted[-1]}"
