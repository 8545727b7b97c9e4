"""What a dead letter contains about the failure, in the formats of the brokers."""

import base64
from datetime import UTC, datetime

import pytest

from batch_gateway.core.batch_request import ExternalEvent
from batch_gateway.core.dead_letters import dead_letter, readable

SAID = "janitor: the event is signed with an unknown key"


def encoded(text: str) -> str:
    """As Knative's brokers do it: base64 cut at 1,024 bytes."""
    return base64.b64encode(text.encode()).decode()[:1024]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encoded(SAID), SAID),
        (encoded(SAID + "\n"), SAID),
        (encoded("x" + "ä" * 700), "x" + "ä" * 383),
        (SAID, SAID),
        ("busy", "busy"),
        ("", ""),
        (base64.b64encode(b"\x00\xff\x01").decode(), "AP8B"),
        ("refused: ä", "refused: ä"),
    ],
    ids=["base64", "lines", "cut", "plain", "word", "empty", "binary", "not ascii"],
)
def test_error_data_is_read_as_base64_or_as_it_is(data, reason):
    assert readable(data) == reason


def test_a_letter_keeps_the_reason_as_text():
    told = {"id": "1", "source": "/s", "type": "t", "knativeerrordata": encoded(SAID)}

    letter = dead_letter(ExternalEvent(attributes=told, data=b""), datetime.now(UTC))

    assert letter.reason == SAID
    assert "knativeerrordata" not in letter.attributes
