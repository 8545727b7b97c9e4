"""Types of the descriptions of objects and fields, and values that examples share."""

from dataclasses import dataclass, field
from typing import Any

BATCH = "batch_b9b94f15ed9d3855a62cd249f0223a88"
BEFORE = "batch_4c1f0ae1c7a54be39bd1f1c0a1d2e3f4"
INPUT, OUTPUT = "file-9d3e1f7a2b4c5d6e7f801234", "file-0a1b2c3d4e5f60718293a4b5"
UPLOAD = "upload_5f2d7c9b1a3e4f60718293a4b5c6d7e8"
PART = "part_1a2b3c4d5e6f708192a3b4c5d6e7f809"
WEBHOOK = "we_8e7d6c5b4a39281706f5e4d3c2b1a009"
LETTER = "dead_3c2b1a09f8e7d6c5b4a39281"
KEY = "key_5f2d7c9b1a3e4f60"
CREATED, ENDED_AT, DEADLINE = 1_764_500_000, 1_764_500_420, 1_764_586_400
REQUEST = {
    "custom_id": "ticket-1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {
        "model": "sim-large",
        "messages": [{"role": "user", "content": "Is this a complaint? The tent leaks."}],
    },
}
TEMPLATE = {
    "model": "sim-large",
    "messages": [{"role": "user", "content": "Is this polite? {{text}}"}],
}
RESULT = {
    "id": "batch_req_ac7a90",
    "custom_id": "ticket-1",
    "response": {
        "status_code": 200,
        "request_id": "req_2fd23c",
        "body": {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}}],
        },
    },
    "error": None,
}


@dataclass(frozen=True, slots=True)
class FieldText:
    """The text of a field.

    ``examples``: the last one is also the field's value in the example of its object. None are
    given for fields that are objects of their own: theirs are made of their fields'. ``more``:
    further keywords of JSON Schema.
    """

    text: str
    examples: tuple[Any, ...] = ()
    more: dict[str, Any] = field(default_factory=dict)


Fields = dict[str, FieldText]


@dataclass(frozen=True, slots=True)
class ObjectText:
    """The text of an object and those of its fields."""

    text: str
    fields: Fields = field(default_factory=dict)


Objects = dict[str, ObjectText]


def about(text: str, *examples: Any, **more: Any) -> FieldText:
    return FieldText(text, examples, more)


def moment(text: str, *examples: int | None) -> FieldText:
    return about(f"{text}, in unix seconds.", *(examples or (CREATED,)))


def kind(value: str) -> FieldText:
    return about("The kind of this object.", value)


def page(identifier: str) -> Fields:
    """The fields of a list whose last object has this id."""
    return {
        "object": kind("list"),
        "data": about("The objects of this page."),
        "first_id": about("The id of the first object; null when the page is empty.", identifier),
        "last_id": about(
            "The id of the last object: give it as `after` to get the next page.", identifier
        ),
        "has_more": about("Whether there is a next page.", False),
    }


#: Fields that several objects have.
METADATA = about(
    "Up to 16 pairs of your own: keys of up to 64 characters, values of up to 512.",
    {"team": "support"},
)
WINDOW = about(
    "The time until the deadline: a number of minutes (`m`), hours (`h`) or days (`d`) from `1m` "
    "to `30d`. In strict mode `24h` only.",
    "24h",
)
PURPOSE = about("What the file is for. Batches take input files of the purpose `batch`.", "batch")
DELETED = about("Always true.", True)
EVENT_TYPES = about("The events that the endpoint gets.", ["batch.completed", "batch.failed"])
NAME = about("Your name for the endpoint.", "reports")
URL = about("Where the events are sent to.", "https://reports.example.com/hook")
