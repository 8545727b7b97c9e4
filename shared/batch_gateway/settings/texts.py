"""Settings with several values in one environment variable."""

import json
from typing import Any

from pydantic import BeforeValidator
from pydantic_settings import NoDecode


def _values(given: Any) -> Any:
    """The values in a text: ``a,b`` or ``["a", "b"]``; anything but a text stays as it is."""
    if not isinstance(given, str):
        return given
    text = given.strip()
    if not text.startswith("["):
        return [value.strip() for value in text.split(",") if value.strip()]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError('expected values with commas (a,b) or a JSON array (["a", "b"])') from None


def _members(given: Any) -> Any:
    """The members of the JSON object in a text; anything but a text stays as it is."""
    if not isinstance(given, str):
        return given
    try:
        found = json.loads(given)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError('expected a JSON object, such as {"name": 1}')
    return found


#: Marks a field whose text has commas between its values, or is a JSON array.
VALUES = (NoDecode, BeforeValidator(_values))
#: Marks a field whose text is a JSON object.
MEMBERS = (NoDecode, BeforeValidator(_members))
