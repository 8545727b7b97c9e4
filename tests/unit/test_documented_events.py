"""The documents of the events say what is sent and taken."""

import json
import re

import pytest
from fixtures import asyncapi
from fixtures.metadata import T0, a_batch
from jsonschema import Draft202012Validator, ValidationError

from batch_gateway.core.events import EventType
from batch_gateway.core.lifecycle import lifecycle_event
from batch_gateway.web.requested_schema import schema

INTERNAL = {
    EventType.BATCH_CANCELLING,
    EventType.BATCH_EXPIRING,
    EventType.BATCH_EXECUTED,
    EventType.WORK_AVAILABLE,
    EventType.WEBHOOK_DUE,
    EventType.UPKEEP_DUE,
    EventType.PING,
}


def test_every_public_event_is_documented_and_no_other():
    assert set(asyncapi.messages()) == {str(each) for each in EventType if each not in INTERNAL}


def test_every_reference_of_the_document_leads_somewhere():
    text = (asyncapi.DOCS / "asyncapi.yaml").read_text()
    resolver = asyncapi.registry().resolver("http://docs/asyncapi.yaml")

    references = set(re.findall(r'\$ref: "([^"]+)"', text))

    assert references
    for reference in references:
        assert resolver.lookup(reference).contents


def test_every_schema_of_the_document_is_one():
    for found in asyncapi.document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(found)


def test_every_message_is_in_a_channel():
    channels = asyncapi.document()["channels"].values()
    listed = [name for channel in channels for name in channel["messages"]]

    assert sorted(listed) == sorted(asyncapi.document()["components"]["messages"])


def test_the_published_schema_is_what_intake_takes():
    path = asyncapi.DOCS / "schemas/batch-requested.v1.json"

    assert json.loads(path.read_text()) == json.loads(json.dumps(schema()))


def test_an_event_that_says_more_than_documented_is_found_out():
    from dataclasses import replace

    event = lifecycle_event(EventType.BATCH_CREATED, a_batch())
    asyncapi.check(event)

    for wrong in (
        replace(event, id="other"),
        replace(event, data={**event.data, "secret": 1}),
        replace(event, data={**event.data, "created_at": T0.isoformat()}),
    ):
        with pytest.raises(ValidationError):
            asyncapi.check(wrong)
