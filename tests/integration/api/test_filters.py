"""Listing only some batches, and removing ended ones."""

from datetime import UTC, datetime, timedelta

import openai as sdk
import pytest
from fixtures.api import openai_client

from batch_gateway.core.layout import work_prefix
from batch_gateway.settings import ApiSettings

VALID = {
    "input_file_id": "file-none",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}


async def listed(openai, **query):
    page = await openai.batches.list(extra_query=query)
    return [batch.id for batch in page.data]


@pytest.fixture
async def made(openai, server):
    """Three batches, an hour apart; the last one first."""
    batches = []
    for hour, team in enumerate(["red", "blue", "red"]):
        server.clock.ahead = timedelta(hours=hour)
        batches.insert(0, await openai.batches.create(**VALID, metadata={"team": team}))
    await openai.batches.cancel(batches[0].id)
    return batches


async def test_batches_are_listed_by_status(openai, made):
    assert await listed(openai, status="cancelling") == [made[0].id]
    assert await listed(openai, status="validating") == [made[1].id, made[2].id]


async def test_batches_are_listed_by_metadata(openai, made):
    assert await listed(openai, **{"metadata[team]": "red"}) == [made[0].id, made[2].id]
    assert await listed(openai, **{"metadata[team]": "red", "metadata[x]": "y"}) == []


async def test_batches_are_listed_by_the_model_of_their_first_line(openai, made, metadata):
    plan = {"total": 1, "model": "sim/large", "now": datetime.now(UTC), "events": []}
    await metadata.batches.plan(made[1].id, [], **plan)

    assert await listed(openai, model="sim/large") == [made[1].id]


async def test_batches_are_listed_by_the_creation_that_they_show(openai, made):
    new, middle, old = made

    assert await listed(openai, created_after=old.created_at) == [new.id, middle.id]
    assert await listed(openai, created_before=new.created_at) == [middle.id, old.id]
    assert await listed(openai, created_after=middle.created_at, created_before=10**11) == [new.id]


async def test_a_number_in_place_of_the_last_batch_is_an_offset(openai, made):
    """So clients of gateways that count read on; a real cursor keeps its meaning."""
    assert await listed(openai, after="0") == [batch.id for batch in made]
    assert await listed(openai, after="2") == [made[2].id]
    assert await listed(openai, after="3") == []
    assert await listed(openai, after="1", limit=1) == [made[1].id]
    assert await listed(openai, after=made[1].id) == [made[2].id]
    for after in ("-1", "1.5", "2abc"):
        with pytest.raises(sdk.BadRequestError, match="after"):
            await listed(openai, after=after)


async def test_filtered_pages_follow_one_another(openai, made):
    query = {"metadata[team]": "red"}

    found = [batch.id async for batch in openai.batches.list(limit=1, extra_query=query)]

    assert found == [made[0].id, made[2].id]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"status": "done"}, "status"),
        ({"status": ""}, "status"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"created_before": "-1"}, "created_before"),
        ({"created_after": "9" * 18}, "created_after"),
        ({"model": "a\0b"}, "model"),
        ({"metadata[a]": "a\0b"}, "metadata[a]"),
    ],
    ids=str,
)
async def test_a_filter_that_makes_no_sense_is_refused(openai, query, param):
    with pytest.raises(sdk.BadRequestError) as refused:
        await listed(openai, **query)

    assert refused.value.param == param


async def test_strict_mode_filters_nothing(serve_api, tenant):
    with serve_api(ApiSettings(mode="strict")) as server:
        async with openai_client(server, tenant) as openai:
            with pytest.raises(sdk.BadRequestError, match="after"):
                await listed(openai, after="0")
            batch = await openai.batches.create(**VALID)
            found = await listed(openai, status="completed")
            with pytest.raises(sdk.APIStatusError) as refused:
                await openai.delete(f"/batches/{batch.id}", cast_to=object)

    assert found == [batch.id]
    assert refused.value.status_code == 405


async def test_an_ended_batch_is_deleted_and_its_files_stay(openai, server, metadata):
    content = b'{"custom_id": "a"}\n'
    file = await openai.files.create(file=("in.jsonl", content), purpose="batch")
    batch = await openai.batches.create(**VALID | {"input_file_id": file.id})
    await metadata.batches.fail(batch.id, [], now=datetime.now(UTC), events=[])
    leftover = server.folder / "files" / work_prefix(batch.id) / "leftover"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"x")

    deleted = await openai.delete(f"/batches/{batch.id}", cast_to=object)

    assert deleted == {"id": batch.id, "object": "batch", "deleted": True}
    with pytest.raises(sdk.NotFoundError):
        await openai.batches.retrieve(batch.id)
    assert not leftover.exists()
    assert (await openai.files.content(file.id)).content == content


async def test_a_batch_that_has_not_ended_is_not_deleted(openai):
    batch = await openai.batches.create(**VALID)

    with pytest.raises(sdk.ConflictError, match="Cannot delete a batch with status 'validating'"):
        await openai.delete(f"/batches/{batch.id}", cast_to=object)

    assert (await openai.batches.retrieve(batch.id)).status == "validating"


async def test_another_tenants_batch_is_not_deleted(openai, stranger, metadata):
    batch = await openai.batches.create(**VALID)
    await metadata.batches.fail(batch.id, [], now=datetime.now(UTC), events=[])

    with pytest.raises(sdk.NotFoundError):
        await stranger.delete(f"/batches/{batch.id}", cast_to=object)

    assert (await openai.batches.retrieve(batch.id)).status == "failed"
