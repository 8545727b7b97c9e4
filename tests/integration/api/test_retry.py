"""``POST /v1/batches/{id}/retry`` over HTTP; what a retry does is tested as a service."""

from datetime import UTC, datetime

import openai as sdk
import pytest
from fixtures.api import openai_client
from openai.types import Batch

from batch_gateway.core.events import EventType
from batch_gateway.core.model import BatchError
from batch_gateway.settings import ApiSettings

LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{}}\n'


@pytest.fixture
async def failed(openai, metadata):
    """A batch that was refused when it was planned."""
    file = await openai.files.create(file=("in.jsonl", LINE), purpose="batch")
    batch = await openai.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"team": "blue"},
        extra_body={"priority": 1, "max_errors": 3},
    )
    error = BatchError(code="token_limit_exceeded", message="Later.")
    await metadata.batches.fail(batch.id, [error], now=datetime.now(UTC), events=[])
    return batch


async def retry(openai, batch_id, body=None, **options):
    return await openai.post(
        f"/batches/{batch_id}/retry", cast_to=Batch, body=body, options=options
    )


async def test_a_retry_is_a_new_batch_on_the_same_terms(openai, metadata, server, failed):
    before = await metadata.batches.load(failed.id)
    server.broker.events.clear()

    new = await retry(openai, failed.id)
    other = await retry(openai, failed.id, {"completion_window": "15m", "metadata": None})

    assert (new.id != failed.id, new.status, new.retry_of) == (True, "validating", failed.id)
    assert (new.input_file_id, new.endpoint) == (failed.input_file_id, failed.endpoint)
    assert (new.completion_window, new.metadata) == ("24h", {"team": "blue"})
    assert (new.priority, new.max_errors, new.carried_over) == (1, 3, None)
    assert (other.completion_window, other.metadata) == ("15m", None)
    assert server.broker.events[0].type is EventType.BATCH_CREATED
    assert await metadata.batches.load(failed.id) == before
    assert failed.retry_of is None


async def test_a_retry_with_an_idempotency_key_is_made_once(openai, failed):
    headers = {"Idempotency-Key": "again"}

    first, second = [await retry(openai, failed.id, headers=headers) for _ in range(2)]

    assert first.id == second.id


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"errors": []}, "errors"),
        ({"errors": "5xx"}, "errors"),
        ({"errors": [5]}, "errors.0"),
        ({"completion_window": "1y"}, "completion_window"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"input_file_id": "x"}, None),
    ],
    ids=str,
)
async def test_a_retry_that_makes_no_sense_is_refused(openai, failed, body, param):
    with pytest.raises(sdk.BadRequestError) as refused:
        await retry(openai, failed.id, body)

    assert refused.value.param == param


async def test_a_batch_that_has_not_ended_is_not_retried(openai, failed):
    new = await retry(openai, failed.id)

    with pytest.raises(sdk.ConflictError, match="Cannot retry") as refused:
        await retry(openai, new.id)

    assert refused.value.response.headers["x-should-retry"] == "false"


async def test_another_tenants_batch_is_not_retried(openai, stranger, failed):
    with pytest.raises(sdk.NotFoundError):
        await retry(stranger, failed.id)

    assert len((await openai.batches.list()).data) == 1


async def test_strict_mode_retries_nothing(serve_api, tenant):
    with serve_api(ApiSettings(mode="strict")) as server:
        async with openai_client(server, tenant) as openai:
            with pytest.raises(sdk.NotFoundError, match="Invalid URL"):
                await retry(openai, "batch_1")


async def test_too_many_words_are_refused_as_an_array(http):
    answer = await http.post("/v1/batches/batch_x/retry", json={"errors": ["5xx"] * 101})

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == ("errors", "array_above_max_length")
    assert "an array with length 101" in error["message"]
