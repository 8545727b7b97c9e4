"""Events of other systems in binary mode."""

import pytest

from batch_gateway.web.cloudevents import Undecodable
from batch_gateway.web.foreign import decode

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
    with pytest.raises(Undecodable):
        decode(SENT | {"ce-subject": "%FF"}, b"{}")
