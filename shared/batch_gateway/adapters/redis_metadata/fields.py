"""Encodings of single fields of a row.

A row is a mapping of text to text. Numbers are decimal, instants whole microseconds since the
epoch (exact in a Lua double until 2255), flags ``1`` and ``0``, compound values JSON that only
Python reads. None is a missing field.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec

from batch_gateway.adapters.checked import checked
from batch_gateway.adapters.corrupt_rows import decoding

T = TypeVar("T")

Row = Mapping[str, str]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(instant: datetime) -> str:
    return str((instant - _EPOCH) // _MICROSECOND)


def instant(text: str) -> datetime:
    return _EPOCH + int(text) * _MICROSECOND


def json_text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


@dataclass(frozen=True, slots=True)
class FieldCodec:
    """How one field is written and read."""

    write: Callable[[Any], str]
    read: Callable[[str], Any]


def json_type(type_: Any) -> FieldCodec:
    return FieldCodec(json_text, msgspec.json.Decoder(type_).decode)


TEXT = FieldCodec(str, str)
NUMBER = FieldCodec(str, int)
FLAG = FieldCodec(lambda flag: "1" if flag else "0", lambda text: text == "1")
INSTANT = FieldCodec(micros, instant)


def write(value: object, fields: Mapping[str, FieldCodec]) -> dict[str, str]:
    known = {name: getattr(value, name) for name in fields}
    return {name: fields[name].write(known[name]) for name in known if known[name] is not None}


def read(row: Row, fields: Mapping[str, FieldCodec]) -> dict[str, Any]:
    return {
        name: None if (text := row.get(name)) is None else kind.read(text)
        for name, kind in fields.items()
    }


def decoded(kind: str, type_: type[T], row: Row, fields: Mapping[str, FieldCodec]) -> T:
    """The row of a ``kind`` as a ``type_``. Raises CorruptRow."""
    with decoding(kind, row.get("id", "without id")):
        return checked(kind, type_, read(row, fields))


def row(flat: Sequence[str]) -> Row:
    """What HGETALL answers inside a script: field, value, field, value, ..."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
