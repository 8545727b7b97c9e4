"""Events by which other systems ask for batches, through intake's own HTTP application."""

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
from cloudevents.conversion import to_binary, to_structured
from fixtures.intake import KEY, PATIENCE, REQUESTED, TOKEN, Door
from fixtures.world import CHAT, TENANT, chat_lines

from batch_gateway.core.batch_request import ExternalEvent, signature
from batch_gateway.core.errors import Unavailable
from batch_gateway.core.events import EventType
from batch_gateway.core.model import BatchStatus
from batch_gateway.settings import FileSettings, Settings
from batch_gateway.store_plugins import UnknownStore
from batch_gateway.wiring.stores import open_files

LINES = b"".join(json.dumps(line).encode() + b"\n" for line in chat_lines(2))


def inline(count=2, **changes):
    return {
        "requests": chat_lines(count),
        "endpoint": CHAT,
        "completion_window": "24h",
        **changes,
    }


@pytest.mark.parametrize("mode", [to_binary, to_structured])
async def test_inline_requests_become_a_batch_that_runs(door, world, mode):
    assert await door.send(door.event(inline(metadata={"a": "b"})), mode) == 202

    [batch] = await door.batches()
    assert (batch.tenant, batch.metadata) == (TENANT, {"a": "b"})
    assert batch.options["cause"] == {"source": "/them", "id": "1"}
    [created] = [e for e in world.sink.take() if e.type is EventType.BATCH_CREATED]
    assert created.data["cause"] == {"source": "/them", "id": "1"}
    ended = await world.run(batch)
    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 2)


async def test_a_batch_of_events_is_taken_event_by_event(door):
    events = [json.loads(to_structured(door.event(inline(), id=str(n)))[1]) for n in range(3)]

    answer = await door.http.post(
        "/",
        headers={"content-type": "application/cloudevents-batch+json; charset=utf-8"},
        content=json.dumps(events),
    )

    assert answer.status_code == 202
    assert len(await door.batches()) == 3


async def test_the_same_event_makes_one_batch_even_when_that_is_deleted(door, world):
    event = door.event(inline())
    assert set(await asyncio.gather(*(door.send(event) for _ in range(5)))) == {202}
    [batch] = await door.batches()
    files = await world.metadata.files.list(TENANT, limit=50)
    assert [file.id for file in files.items] == [batch.input_file_id]

    await world.run(batch)
    await world.metadata.batches.delete(TENANT, batch.id)
    assert await door.send(event) == 202
    assert await door.batches() == []
    assert await door.send(door.event(inline(), id="2")) == 202
    assert len(await door.batches()) == 1


async def test_a_file_of_the_tenant_becomes_a_batch(door, world):
    file = await world.upload(b"".join(json.dumps(c).encode() + b"\n" for c in chat_lines(1)))
    asked = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "1h"}

    assert await door.send(door.event(asked)) == 202

    [batch] = await door.batches()
    assert (batch.input_file_id, batch.completion_window) == (file.id, "1h")


async def test_an_object_in_an_allowed_folder_is_copied(door, world, tmp_path):
    path = tmp_path / "inbox" / "night" / "in.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"".join(json.dumps(c).encode() + b"\n" for c in chat_lines(3)))
    asked = {"object": f"file://{path}", "endpoint": CHAT, "completion_window": "24h"}

    assert await door.send(door.event(asked)) == 202
    path.unlink()

    [batch] = await door.batches()
    ended = await world.run(batch)
    assert ended.counts.completed == 3
    file = await world.metadata.files.get(TENANT, batch.input_file_id)
    assert file.filename == "in.jsonl"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("in\r\nX-Evil: 1.jsonl", "inX-Evil: 1.jsonl"),
        ("\x1b[31m\u202ein\x7f.jsonl", "[31min.jsonl"),
        ('a"b;c.jsonl', 'a"b;c.jsonl'),
        ("\u20ac" * 80 + ".jsonl", "\u20ac" * 80 + ".jsonl"),
    ],
)
async def test_the_name_of_an_object_becomes_a_safe_file_name(door, world, tmp_path, name, kept):
    path = tmp_path / "inbox" / name
    path.write_bytes(LINES)
    asked = {"object": f"file://{path}", "endpoint": CHAT, "completion_window": "24h"}

    assert await door.send(door.event(asked)) == 202

    [batch] = await door.batches()
    file = await world.metadata.files.get(TENANT, batch.input_file_id)
    assert file.filename == kept


async def test_an_empty_object_is_a_batch_that_fails_with_its_reason(door, world, tmp_path):
    path = tmp_path / "inbox" / "empty.jsonl"
    path.touch()
    asked = {"object": f"file://{path}", "endpoint": CHAT, "completion_window": "24h"}

    assert await door.send(door.event(asked)) == 202

    [batch] = await door.batches()
    ended = await world.run(batch)
    assert [error.code for error in ended.errors] == ["empty_file"]


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (inline(endpoint="/v1/nothing"), "endpoint"),
        (inline(completion_window="soon"), "completion_window"),
        (inline(requests=[]), "requests"),
        (inline(input_file_id="file-1"), "requests"),
        (inline(object="file:///x.jsonl"), "object"),
        (inline(prio=1), None),
        ({}, "input_file_id"),
        (inline(requests=None, input_file_id="file-none"), "input_file_id"),
        (inline(requests=None, object="file:///etc/passwd"), "object"),
        (inline(requests=None, object="INBOX/../secret.jsonl"), "object"),
        (inline(requests=None, object="INBOX/none.jsonl"), "object"),
        (inline(requests=None, object="INBOX/latin-1.jsonl"), None),
        (inline(requests=None, object="s3://elsewhere/in.jsonl"), "object"),
        ("text", "body"),
    ],
)
async def test_what_makes_no_batch_is_rejected_by_an_event(door, world, tmp_path, asked, param):
    inbox = tmp_path / "inbox"
    (inbox / "latin-1.jsonl").write_bytes(b'{"a":"\xe9"}')
    (tmp_path / "secret.jsonl").write_text("{}\n")
    if isinstance(asked, dict) and str(asked.get("object", "")).startswith("INBOX"):
        asked = {**asked, "object": asked["object"].replace("INBOX", f"file://{inbox}")}

    assert await door.send(door.event(asked)) == 202
    assert await door.send(door.event(asked)) == 202

    assert await door.batches() == []
    first, second = door.rejections()
    assert first.id == second.id
    assert first.data["cause"] == {"source": "/them", "id": "1"}
    assert first.data["reason"]["param"] == param
    assert first.data["reason"]["message"]
    assert (await world.metadata.files.list(TENANT, limit=9)).items == []


async def test_a_rejection_waits_for_the_broker(door, world):
    world.sink.away = True
    assert await door.send(door.event({})) == 202
    world.sink.away = False
    world.clock.ahead = timedelta(minutes=1)

    await world.janitor.sweep()

    assert len(door.rejections()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"key": None},
        {"key": "a key of the others"},
        {"source": "/stranger"},
        {"source": "/other"},
        {"gwsignature": "0" * 64, "key": None},
        {"gwtoken": TOKEN, "key": None},
        {"gwtoken": TOKEN, "source": "/store", "key": None},  # a store cannot ask for anything
    ],
)
async def test_who_is_not_known_is_refused(door, world, changes):
    event = door.event(inline(), **changes)
    world.clock.ahead = PATIENCE + timedelta(minutes=1)

    assert await door.send(event) == 400

    assert await door.batches() == []
    assert door.rejections() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"key": "a key that is new here"},
        {"source": "/new"},
        {"type": "s3", "gwtoken": "a token that is new here", "source": "/store", "key": None},
    ],
    ids=["key", "source", "token"],
)
async def test_a_key_that_is_not_known_yet_is_waited_for(door, changes):
    assert await door.send(door.event(inline(), **changes)) == 503

    assert await door.batches() == []
    assert door.rejections() == []


async def test_an_event_without_any_key_is_not_waited_for(door):
    assert await door.send(door.event(inline(), key=None)) == 400


async def test_a_source_asks_for_its_own_tenant(door):
    event = door.event(inline(), source="/other", key="a key of the others")

    assert await door.send(event) == 202

    assert await door.batches() == []
    assert len(await door.batches("other")) == 1


@pytest.mark.parametrize(
    ("ahead", "said"),
    [(timedelta(days=7, minutes=1), "too old"), (timedelta(minutes=-6), "from the future")],
)
async def test_an_event_is_refused_beyond_the_time_that_ids_are_kept(door, world, ahead, said):
    event = door.event(inline())
    world.clock.ahead = ahead

    assert await door.send(event) == 202

    [rejected] = door.rejections()
    assert said in rejected.data["reason"]["message"]
    assert await door.batches() == []


async def test_an_id_is_kept_for_as_long_as_its_event_is_taken(door, world):
    event = door.event(inline())
    await door.send(event)
    [batch] = await door.batches()
    await world.run(batch)
    await world.metadata.batches.delete(TENANT, batch.id)

    world.clock.ahead = timedelta(days=6, hours=23)
    await world.janitor.sweep()
    assert await door.send(event) == 202
    assert await door.batches() == []
    world.clock.ahead = timedelta(days=7, hours=2)
    await world.janitor.sweep()
    assert await door.send(event) == 202
    assert await door.batches() == []


async def test_without_a_time_an_event_could_be_repeated_for_ever(door):
    headers, body = to_binary(door.event(inline()))
    foreign = ExternalEvent(attributes={"id": "1", "source": "/them", "type": REQUESTED}, data=b"")
    del headers["ce-time"]
    headers["ce-gwsignature"] = signature(KEY.encode(), foreign, body)

    answer = await door.http.post("/", headers=headers, content=body)

    assert answer.status_code == 202
    assert "needs the time" in door.rejections()[0].data["reason"]["message"]


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({}, b"{}"),
        ({"content-type": "application/cloudevents+json"}, b"{"),
        ({"content-type": "application/cloudevents+json"}, b'{"specversion": "1.0", "id": 1.5}'),
        ({"content-type": "application/cloudevents+json"}, b'{"specversion": "0.3"}'),
        ({"content-type": "application/cloudevents-batch+json"}, b"{}"),
        ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/them"}, b""),
        ({"ce-specversion": "1.0", "ce-id": "%FF", "ce-source": "/t", "ce-type": "t"}, b""),
    ],
)
async def test_what_is_no_event_is_refused(door, headers, content):
    answer = await door.http.post("/", headers=headers, content=content)

    assert answer.status_code == 400
    assert answer.text.isprintable()


async def test_a_store_that_is_away_is_tried_again(door, world, monkeypatch):
    async def away(*_, **__):
        raise Unavailable("the database is away")

    monkeypatch.setattr(world.metadata.processed_events, "find", away)

    assert await door.send(door.event(inline())) == 503


async def test_a_batch_whose_making_was_not_confirmed_keeps_its_input(door, world, monkeypatch):
    create = world.metadata.batches.create

    async def unconfirmed(*args, **kwargs):
        await create(*args, **kwargs)
        raise Unavailable("the connection broke before the answer")

    event = door.event(inline())
    with monkeypatch.context() as broken:
        broken.setattr(world.metadata.batches, "create", unconfirmed)
        assert await door.send(event) == 503

    assert await door.send(event) == 202
    [batch] = await door.batches()
    assert (await world.run(batch)).counts.completed == 2


# Object stores --------------------------------------------------------------------------------


@pytest.mark.usefixtures("installed_plugin")
async def test_objects_of_a_third_party_file_store_become_batches(world, tmp_path):
    folder = f"folder://{tmp_path}/drops/"
    await open_files(Settings(files=FileSettings(url=folder))).put("in/a.jsonl", LINES)

    async with AsyncExitStack() as stack:
        door = Door(world, tmp_path, stack, store=folder)
        await stack.enter_async_context(door.http)
        wanted = {"object": f"{folder}in/a.jsonl", "endpoint": CHAT, "completion_window": "24h"}
        assert await door.send(door.event(wanted)) == 202

        [batch] = await door.batches()
    ended = await world.run(batch)
    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 2)


async def test_a_folder_that_no_plug_in_opens_stops_intake(world, tmp_path):
    async with AsyncExitStack() as stack:
        with pytest.raises(UnknownStore, match=r"intake\.sources: no plug-in for gs://"):
            Door(world, tmp_path, stack, store="gs://bucket/in/")


class Objects:
    def __init__(self, **objects) -> None:
        self.objects = objects

    async def read(self, uri):
        yield self.objects[uri]


def created(*keys):
    return {
        "Records": [
            {
                "eventName": "s3:ObjectCreated:Put",
                "eventTime": None,
                "s3": {
                    "bucket": {"name": "bucket"},
                    "object": {"key": key, "eTag": "e", "sequencer": "16"},
                },
            }
            for key in keys
        ]
    }


@pytest.fixture
def bucket(door):
    objects = {f"s3://bucket/in/{name}.jsonl": LINES for name in "ab"}
    door.intake._objects = Objects(**objects)
    return door


async def test_new_objects_under_a_prefix_become_batches(bucket):
    keys = ["in/a.jsonl", "in/b.jsonl", "in/readme.txt", "out/c.jsonl"]
    event = bucket.event(
        created(*keys), source="/store", type="s3:ObjectCreated:Put", key=None, gwtoken=TOKEN
    )

    for _ in range(2):
        assert await bucket.send(event) == 202

    batches = await bucket.batches()
    assert len(batches) == 2
    assert {batch.endpoint for batch in batches} == {CHAT}
    assert bucket.rejections() == []


async def test_a_store_may_post_its_own_notification_with_its_token(bucket, world):
    notice = created("in/a.jsonl")
    notice["Records"][0]["eventTime"] = world.clock.now().isoformat()
    for token, status in ((TOKEN, 202), (TOKEN, 202), ("wrong", 400)):
        answer = await bucket.http.post(
            "/", json=notice, headers={"authorization": f"Bearer {token}"}
        )
        assert answer.status_code == status

    assert len(await bucket.batches()) == 1


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x"])
async def test_a_store_without_its_token_is_refused(bucket, world, token):
    event = bucket.event(created("in/a.jsonl"), source="/store", type="s3", key=None, gwtoken=token)
    world.clock.ahead = PATIENCE + timedelta(minutes=1)

    assert await bucket.send(event) == 400
    assert await bucket.batches() == []
