import json

import pytest

from batch_gateway.core.batch_request import (
    ExternalEvent,
    SourceEvent,
    canonical,
    objects_of,
    signature,
    verified,
)

KEY, OLD = b"a key of sixteen", b"an older key, 16"


def an_event(data=b'{"b": 1, "a": "\xc3\xa4"}', **attributes):
    given = {
        "id": "1",
        "source": "/them",
        "type": "t",
        "subject": "s",
        "time": "2026-03-01T12:00:00.120Z",
    }
    return ExternalEvent(attributes=given | attributes, data=data)


def signed(event, data, key=KEY):
    attributes = {**event.attributes, "gwsignature": signature(key, event, data)}
    return ExternalEvent(attributes=attributes, data=event.data)


def test_the_signature_is_what_the_recipe_says():
    import hashlib
    import hmac

    said = b"1:15:/them1:t1:s20:2026-03-01T12:00:00Z4:null"
    event = an_event(b"null")

    assert signature(KEY, event, event.data) == hmac.new(KEY, said, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("time", ["", "soon", "2026-03-01", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_is_no_instant_is_none(time):
    assert an_event(time=time).time is None


def test_data_may_be_spelled_anew_on_the_way():
    sent = an_event()
    arrived = an_event(b'{"a":"\\u00e4","b":1}', time="2026-03-01T13:00:00.12+01:00")

    good = signature(KEY, sent, canonical(sent.data))

    attributes = {**arrived.attributes, "gwsignature": good}
    found = verified([OLD, KEY], ExternalEvent(attributes=attributes, data=arrived.data))
    assert found == canonical(sent.data)


def test_data_that_is_signed_as_it_is_is_taken_as_it_is():
    event = signed(an_event(), an_event().data, OLD)

    assert verified([KEY, OLD], event) == event.data


@pytest.mark.parametrize("changed", ["id", "source", "type", "subject", "time", "gwsignature"])
def test_nothing_that_is_signed_can_be_changed(changed):
    event = signed(an_event(), an_event().data)
    attributes = {**event.attributes, changed: "2027-03-01T12:00:00Z"}

    assert verified([KEY], ExternalEvent(attributes=attributes, data=event.data)) is None
    assert verified([KEY], ExternalEvent(attributes=event.attributes, data=b"{}")) is None
    assert verified([], event) is None


def test_fields_do_not_run_into_one_another():
    one, other = an_event(id="1", subject="2s"), an_event(id="12", subject="s")

    assert signature(KEY, one, b"") != signature(KEY, other, b"")


def test_an_unsigned_event_is_not_verified():
    assert verified([KEY], an_event()) is None
    assert verified([KEY], an_event(gwsignature="\u00e4")) is None


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_has_no_other_spelling(data):
    assert canonical(data) is None


@pytest.mark.parametrize("time", ["", "yesterday", "2026-03-01T12:00:00"])
def test_a_time_without_a_zone_is_none(time):
    assert an_event(time=time).time is None


def test_causes_of_different_sources_are_different():
    assert SourceEvent(source="a", id="bc").key != SourceEvent(source="ab", id="c").key
    assert len(SourceEvent(source="a", id="b").seed) == 16
    assert SourceEvent(source="a", id="b").part(0) == SourceEvent(source="a", id="b")
    assert SourceEvent(source="a", id="b").part(1).id == "b#1"


def record(name="s3:ObjectCreated:Put", key="in/a+b%2Bc.jsonl"):
    return {"eventName": name, "s3": {"bucket": {"name": "bucket"}, "object": {"key": key}}}


MINIO = {"EventName": "s3:ObjectCreated:Put", "Key": "bucket/in/x", "Records": [record()]}
EVENT_BRIDGE = {
    "detail-type": "Object Created",
    "source": "aws.s3",
    "detail": {"bucket": {"name": "bucket"}, "object": {"key": "in/a b+c.jsonl", "size": 1}},
}


@pytest.mark.parametrize(
    ("data", "uris"),
    [
        (MINIO, ["s3://bucket/in/a b+c.jsonl"]),
        ({"Records": [record("ObjectCreated:Copy"), record("s3:ObjectRemoved:Delete")]}, 1),
        ({"Records": [record(), record(key="other.jsonl")]}, 2),
        (EVENT_BRIDGE, ["s3://bucket/in/a b+c.jsonl"]),
        (EVENT_BRIDGE["detail"], ["s3://bucket/in/a b+c.jsonl"]),
        (record(), ["s3://bucket/in/a b+c.jsonl"]),
        (record("s3:ObjectRemoved:Delete"), []),
        ({**EVENT_BRIDGE, "detail-type": "Object Deleted"}, []),
        ({"Records": [{"s3": 1}, 2, {}]}, []),
        ({"bucket": {"name": ""}, "object": {"key": "k"}}, []),
        ([], []),
        ({}, []),
        (None, []),
    ],
)
def test_object_stores_say_which_objects_were_created(data, uris):
    found = list(objects_of(json.loads(json.dumps(data))))

    assert found == uris if isinstance(uris, list) else len(found) == uris
