"""Request bodies that the simulator accepts, and those that it refuses."""

import json

import pytest

from batch_gateway.simulator import calls
from batch_gateway.simulator.calls import RequestRejected
from batch_gateway.simulator.config import SimulatorConfig
from batch_gateway.simulator.responses import PlannedReply

HELLO = [{"role": "user", "content": "hello"}]


def chat(**fields: object) -> bytes:
    return json.dumps({"model": "m", "messages": HELLO, **fields}).encode()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"not json", None),
        (b"[]", None),
        (b"{}", None),
        (b'{"model": "m"}', None),
        (b'{"model": "m", "messages": []}', "messages"),
        (chat(model=3), "model"),
        (chat(max_tokens=0), "max_tokens"),
        (chat(max_tokens="many"), "max_tokens"),
        (chat(n=0), "n"),
        (chat(stream=True, n=2), "n"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "\xff"}]}', None),
    ],
)
def test_a_wrong_chat_body_is_refused_with_the_parameter(body, param):
    with pytest.raises(RequestRejected) as refusal:
        calls.chat(body)

    assert refusal.value.status == 400
    assert refusal.value.param == param


@pytest.mark.parametrize("value", [None, 3, [], [[]], [-1], ["a", 1], {"a": 1}])
def test_wrong_inputs_of_embeddings_are_refused(value):
    with pytest.raises(RequestRejected) as refusal:
        calls.embedding(json.dumps({"model": "m", "input": value}).encode())

    assert refusal.value.param == "input"


@pytest.mark.parametrize(
    ("value", "prompts"),
    [
        ("ab", [b"ab"]),
        (["a", "b"], [b"a", b"b"]),
        ([1, 2], [b"\x01\0\0\0\x02\0\0\0"]),
        ([[1], [2]], [b"\x01\0\0\0", b"\x02\0\0\0"]),
    ],
)
def test_inputs_are_texts_or_token_ids(value, prompts):
    call = calls.embedding(json.dumps({"model": "m", "input": value}).encode())

    assert call.prompts == prompts


def test_tools_stand_behind_the_first_message_of_the_prompt():
    messages = [{"role": "system", "content": "be nice"}, *HELLO]

    (prompt,) = calls.chat(chat(messages=messages, tools=[{"type": "function"}])).prompts

    assert prompt == b'<|system|>be nice[{"type": "function"}]<|user|>hello'


@pytest.mark.parametrize(
    ("fields", "tokens", "reason"),
    [
        ({"max_tokens": 5}, 5, "length"),
        ({"max_completion_tokens": 7, "max_tokens": 5}, 7, "length"),
        ({"max_tokens": 500, "ignore_eos": True}, 500, "length"),
    ],
)
def test_the_limit_of_tokens_is_honoured(fields, tokens, reason):
    said = PlannedReply(calls.chat(chat(**fields)), "ab" * 32, SimulatorConfig(), generates=True)

    assert (said.output_tokens, said.finish_reason) == (tokens, reason)
    assert len(said.text()) == tokens * 4


def test_without_a_limit_the_answer_has_about_the_mean_length():
    config = SimulatorConfig.checked(output_tokens=40)
    lengths = [
        PlannedReply(
            calls.chat(chat()), f"{n * 7919:08x}" * 8, config, generates=True
        ).output_tokens
        for n in range(400)
    ]

    assert min(lengths) >= 21
    assert max(lengths) <= 60
    assert 38 < sum(lengths) / len(lengths) < 43
