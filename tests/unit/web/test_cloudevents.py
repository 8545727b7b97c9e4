"""Events of other systems in binary mode."""

import json

import pytest

from batch_gateway.web.cloudevents import UndecodableEvent, decode

SENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}


@pytest.mark.parametrize(
    "sent",
    ["Größe", "Größe".encode().decode("latin-1"), "Gr%C3%B6%C3%9Fe"],
    ids=["Latin-1", "UTF-8", "percent-encoded"],
)
def test_characters_beyond_ascii_are_understood_however_they_are_sent(sent):
    [event] = decode(SENT | {"ce-subject": sent}, b"{}")

    assert event.attributes["subject"] == "Größe"


def test_percent_encoding_of_what_is_no_text_is_refused():
    with pytest.raises(UndecodableEvent):
        decode(SENT | {"ce-subject": "%FF"}, b"{}")


@pytest.mark.parametrize("data", ["\u202e", "e30", "=", "e30=\n", "\ud800"])
def test_data_that_is_no_base64_is_refused(data):
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data_base64": data}

    with pytest.raises(UndecodableEvent):
        decode({"content-type": "application/cloudevents+json"}, json.dumps(event).encode())
