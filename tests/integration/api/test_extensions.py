"""Extension fields of a new batch: taken, shown, kept; refused by the strict mode."""

from datetime import UTC, datetime

import openai as sdk
import pytest
from fixtures.api import openai_client
from fixtures.metadata import a_shard
from openai.types import Batch

from batch_gateway.settings import ApiSettings

VALID = {
    "input_file_id": "file-none",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}
EXTENSIONS = {
    "endpoint": "*",
    "priority": 0,
    "on_invalid_line": "skip",
    "dry_run": True,
    "max_errors": 0,
    "max_error_rate": 0.5,
    "max_total_tokens": 1000,
    "deduplicate": True,
}


@pytest.mark.parametrize("name", EXTENSIONS)
async def test_an_extension_is_kept_with_the_batch(openai, name):
    batch = await openai.batches.create(**VALID, extra_body={name: EXTENSIONS[name]})

    seen = await openai.batches.retrieve(batch.id)
    assert getattr(batch, name) == getattr(seen, name) == EXTENSIONS[name]


@pytest.mark.parametrize("name", EXTENSIONS)
async def test_an_extension_of_the_wrong_kind_is_refused(openai, name):
    with pytest.raises(sdk.BadRequestError) as refused:
        await openai.batches.create(**VALID, extra_body={name: {"no": "sense"}})

    assert refused.value.param == name


async def test_strict_mode_refuses_every_extension(serve_api, tenant):
    with serve_api(ApiSettings(mode="strict")) as server:
        async with openai_client(server, tenant) as openai:
            for name, value in EXTENSIONS.items():
                with pytest.raises(sdk.BadRequestError) as refused:
                    await openai.batches.create(**VALID, extra_body={name: value})

                message = f"Unrecognized request argument supplied: {name}"
                if name in VALID:
                    message = f"Invalid value: '{value}'. Supported values are: "
                assert refused.value.body["message"].startswith(message)


async def test_a_batch_shows_when_it_will_be_done_and_what_it_waits_for(openai, metadata):
    batch = await openai.batches.create(**VALID)
    assert batch.estimated_completion_at is None
    assert batch.blocked_reason is None
    row = await metadata.batches.load(batch.id)
    await metadata.batches.plan(
        row.id, [a_shard(row, 0)], total=10, model="m", now=datetime.now(UTC), events=[]
    )

    await openai.post(f"/batches/{batch.id}/pause", cast_to=Batch)

    seen = await openai.batches.retrieve(batch.id)
    assert (seen.blocked_reason, seen.estimated_completion_at) == ("paused", None)
    (listed,) = (await openai.batches.list(limit=1)).data
    assert listed.blocked_reason == "paused"
