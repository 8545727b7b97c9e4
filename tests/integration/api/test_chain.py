"""``after``: batches that follow another, through the official SDK."""

import openai as sdk
import pytest
from fixtures.gateway import CHAT, chat_lines

AFTER = {"template": {"model": "m", "messages": [{"role": "user", "content": "{{text}}"}]}}


async def created(openai, **body):
    return await openai.batches.create(
        input_file_id=sdk.omit, endpoint=CHAT, completion_window="24h", extra_body=body
    )


async def test_a_batch_names_the_one_that_it_follows(openai):
    first = await created(openai, requests=chat_lines(1))

    second = await created(openai, after={"batch_id": first.id, **AFTER})

    assert (second.status, second.after) == ("validating", first.id)
    assert second.input_file_id.startswith("file-")
    assert (await openai.batches.retrieve(first.id)).after is None


async def test_of_others_it_cannot_be_made(openai, stranger):
    first = await created(stranger, requests=chat_lines(1))

    with pytest.raises(sdk.BadRequestError, match="No batch found") as refused:
        await created(openai, after={"batch_id": first.id, **AFTER})

    assert refused.value.param == "after.batch_id"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input_file_id": "file-1"}, "after"),
        ({"requests": chat_lines(1)}, "after"),
        ({"after": {"batch_id": "b"}}, "after.template"),
        ({"after": {"batch_id": "b", "template": "{{text}}"}}, "after.template"),
        ({"after": {"batch_id": "b", "template": {"x": "{{nothing}}"}}}, "after.template"),
        ({"after": "b"}, "after"),
    ],
)
async def test_what_makes_no_chain_is_refused(openai, changes, param):
    with pytest.raises(sdk.BadRequestError) as refused:
        await created(openai, **({"after": {"batch_id": "b", **AFTER}} | changes))

    assert refused.value.param == param
