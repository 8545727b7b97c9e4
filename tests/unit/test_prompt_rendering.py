"""Which requests have the same prompt for an engine, however they are written."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.prompt_rendering import read_prompt, render_prompt

IMAGE = "data:image/png;base64,iVBORw0KGgo="


def of(body: bytes) -> bytes:
    return render_prompt(read_prompt(body))


def said(**body: object) -> bytes:
    return of(msgspec.json.encode(body))


def user(content: object, **more: object) -> dict[str, object]:
    return {"role": "user", "content": content, **more}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            b'{"messages": [{"role": "user", "content": "caf\\u00e9"}]}',
            '{"temperature":0.3,"messages":[{"content":"café","role":"user"}]}'.encode(),
            id="key order, white space, escapes, parameters",
        ),
        pytest.param(
            b'{"messages": [{"role": "user", "content": "a b"}]}',
            b'{"messages": [{"role": "user", "name": "joe", "content":'
            b' [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]}]}',
            id="text or array of parts, a name",
        ),
        pytest.param(
            b'{"messages": [], "tools": [{"type": "function", "function": {"name": "f"}}]}',
            b'{"tools":[{"type":"function","function":{"name":"f"}}],"messages":[]}',
            id="tools with and without white space",
        ),
        pytest.param(
            b'{"input": "q", "instructions": "i"}',
            b'{"instructions": "i", "input":'
            b' [{"role": "user", "content": [{"type": "input_text", "text": "q"}]}]}',
            id="input of a response as text or items",
        ),
        pytest.param(b'{"prompt": "p"}', b'{"prompt": ["p", "q"]}', id="several prompts"),
        pytest.param(b'{"prompt": [1, 2]}', b'{"prompt": [[1, 2], [3]]}', id="token ids"),
    ],
)
def test_the_same_prompt_written_otherwise_is_the_same(one, other):
    assert of(one) == of(other)


def test_system_and_developer_messages_come_before_tools_and_those_before_the_rest():
    tools = [{"type": "function", "function": {"name": "look_up"}}]
    found = said(
        tools=tools,
        messages=[
            {"role": "system", "content": "SYSTEM"},
            {"role": "developer", "content": "DEVELOPER"},
            user("QUESTION"),
            {"role": "system", "content": "LATER"},
        ],
    )

    places = [
        found.index(word) for word in (b"SYSTEM", b"DEVELOPER", b"look_up", b"QUESTION", b"LATER")
    ]
    assert places == sorted(places)


def test_images_are_told_apart_by_url_however_it_is_given():
    chat = [{"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}}]
    response = [{"type": "input_image", "image_url": IMAGE}]
    other = [{"type": "image_url", "image_url": {"url": IMAGE + "x"}}]

    assert said(messages=[user(chat)]) == said(input=[user(response)])
    assert said(messages=[user(chat)]) != said(messages=[user(other)])
    assert len(said(messages=[user(chat)])) < 64


def test_calls_of_tools_and_their_outputs_count():
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    one = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    item = {"type": "function_call_output", "call_id": "1", "output": "sunny"}

    assert b'"name":"f"' in said(messages=one)
    assert b"sunny" in said(input=[item])


scalars = st.sampled_from([None, True, 0, -1, 10**30, 0.5, "", "text", [], {}])
items = st.dictionaries(
    st.sampled_from(
        ["role", "type", "content", "text", "image_url", "url", "tool_calls", "output"]
    ),
    st.one_of(scalars, st.lists(scalars, max_size=2)),
)
shapes = st.one_of(scalars, st.lists(st.one_of(scalars, items), max_size=3))


@given(
    body=st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(["messages", "tools", "prompt", "input", "instructions"], shapes),
    )
)
def test_whatever_stands_there_is_rendered(body):
    assert isinstance(of(json.dumps(body).encode()), bytes)
