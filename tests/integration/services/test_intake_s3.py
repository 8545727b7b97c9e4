"""Objects of a real S3 server that become batches: by name, and by the store's notifications."""

import json
from contextlib import AsyncExitStack
from urllib.parse import quote

import pytest
from fixtures.intake import TOKEN, Door
from fixtures.world import CHAT, TENANT, chat_lines

from batch_gateway.core.model import BatchStatus
from batch_gateway.settings import FileSettings, IntakeSettings, Settings
from batch_gateway.wiring.intake import StoredObjects

pytestmark = [pytest.mark.redis, pytest.mark.s3]

LINES = b"".join(json.dumps(line).encode() + b"\n" for line in chat_lines(3))


@pytest.fixture
def folder(s3_server):
    return f"s3://{s3_server.bucket}/{s3_server.prefix}/in/"


@pytest.fixture
async def door(world, tmp_path, s3_server, folder):
    (tmp_path / "inbox").mkdir()
    async with AsyncExitStack() as stack:
        door = Door(world, tmp_path / "inbox", stack, store=folder)
        await stack.enter_async_context(door.http)
        intake = IntakeSettings(
            sources={"store": {"tenant": TENANT, "token": TOKEN, "folders": [folder]}}
        )
        objects = StoredObjects(Settings(files=FileSettings(**s3_server.settings), intake=intake))
        stack.push_async_callback(objects.close)
        door.intake._objects = objects
        yield door


def put(s3_server, name, content=LINES):
    key = f"{s3_server.prefix}/in/{name}"
    s3_server.client().put_object(Bucket=s3_server.bucket, Key=key, Body=content)
    return key


def asked_for(uri):
    return {"object": uri, "endpoint": CHAT, "completion_window": "24h"}


async def test_an_object_is_copied_and_its_batch_runs_when_it_is_gone(
    door, world, s3_server, folder
):
    key = put(s3_server, "night 1/a.jsonl")

    assert await door.send(door.event(asked_for(f"{folder}night 1/a.jsonl"))) == 202
    s3_server.client().delete_object(Bucket=s3_server.bucket, Key=key)

    [batch] = await door.batches()
    ended = await world.run(batch)
    assert (ended.status, ended.counts.completed) == (BatchStatus.COMPLETED, 3)
    file = await world.metadata.files.get(TENANT, batch.input_file_id)
    assert (file.filename, file.size, file.lines) == ("a.jsonl", len(LINES), 3)


@pytest.mark.parametrize("name", ["none.jsonl", "", "../in/x.jsonl"])
async def test_an_object_that_is_not_there_is_a_rejection(door, folder, name):
    assert await door.send(door.event(asked_for(f"{folder}{name}"))) == 202

    assert await door.batches() == []
    [rejected] = door.rejections()
    assert rejected.data["reason"]["param"] == "object"


async def test_a_bucket_that_is_not_there_is_no_reason_to_come_again(door, s3_server):
    elsewhere = f"s3://{s3_server.bucket}-of-others/in/a.jsonl"

    assert await door.send(door.event(asked_for(elsewhere))) == 202

    assert len(door.rejections()) == 1


async def test_a_notification_as_stores_send_it_makes_batches_of_new_objects(
    door, world, s3_server
):
    keys = [put(s3_server, name) for name in ("a b.jsonl", "\u00e4+.jsonl", "readme.txt")]
    notice = {
        "Records": [
            {
                "eventName": "s3:ObjectCreated:Put",
                "eventTime": world.clock.now().isoformat(),
                "s3": {
                    "bucket": {"name": s3_server.bucket},
                    # Stores escape keys as forms do.
                    "object": {"key": quote(key, safe="/").replace("%20", "+"), "sequencer": "16"},
                },
            }
            for key in keys
        ]
    }

    for _ in range(2):
        answer = await door.http.post(
            "/", json=notice, headers={"authorization": f"Bearer {TOKEN}"}
        )
        assert answer.status_code == 202

    batches = await door.batches()
    files = [await world.metadata.files.get(TENANT, batch.input_file_id) for batch in batches]
    assert sorted(file.filename for file in files) == ["a b.jsonl", "\u00e4+.jsonl"]
    assert {file.lines for file in files} == {3}
