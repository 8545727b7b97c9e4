"""``after``: batches that follow another, through the official SDK."""

import httpx
import openai as sdk
import pytest
from fixtures.api import headers_of
from fixtures.gateway import CHAT, chat_lines
from fixtures.json_values import anything
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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


PLACES = st.sampled_from(["{{text}}", "{{/choices/0}}", "{{", "{{ }}", "{{nothing}}", "x{{/a}}y"])


@pytest.mark.slow
async def test_whatever_after_says_is_accepted_or_refused_in_the_envelope(openai, server, tenant):
    first = await created(openai, requests=chat_lines(1))
    names = st.just(first.id) | anything(st.sampled_from([first.id, "batch_", ""]))
    shaped = st.fixed_dictionaries(
        {"batch_id": names, "template": anything(PLACES)}, optional={"more": st.none()}
    )

    @given(shaped | anything(PLACES))
    @settings(
        max_examples=120,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def fuzz(after):
        asked = {"endpoint": CHAT, "completion_window": "24h", "after": after}
        answer = http.post("/v1/batches", json=asked)
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 400:
            assert answer.json()["error"]["type"] == "invalid_request_error"

    with httpx.Client(base_url=server.url, headers=headers_of(tenant), timeout=30) as http:
        fuzz()
