import json

import pytest
from fixtures.gateway import CHAT
from fixtures.json_values import anything
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_gateway.core.chaining import (
    UnfillablePlaceholder,
    check_template,
    empty_line,
    request_line,
)
from batch_gateway.core.errors import InvalidRequest


def output(body, custom_id="one"):
    line = {"id": "r", "custom_id": custom_id, "response": {"body": body}, "error": None}
    return json.dumps(line).encode()


SAID = 'She said: "{{text}}"\n\u00e4 \\ 1'
CHATTED = {"choices": [{"message": {"content": SAID}}], "usage": {"total_tokens": 7}, "a/b": [1]}


def made(template, body=CHATTED):
    return json.loads(request_line(output(body), CHAT, template, 100_000))


def test_a_request_is_made_of_an_answer():
    template = {
        "model": "judge",
        "messages": [
            {"role": "system", "content": "Judge {{custom_id}}."},
            {"role": "user", "content": "{{ text }}"},
        ],
        "temperature": 0.5,
    }

    assert made(template) == {
        "custom_id": "one",
        "method": "POST",
        "url": CHAT,
        "body": {
            "model": "judge",
            "messages": [
                {"role": "system", "content": "Judge one."},
                {"role": "user", "content": SAID},
            ],
            "temperature": 0.5,
        },
    }


def test_what_is_put_in_is_not_looked_at_for_placeholders():
    assert made({"x": "<{{text}}>"})["body"]["x"] == f"<{SAID}>"


def test_a_pointer_gives_the_value_or_spells_it_out():
    body = made({"n": "{{/usage/total_tokens}}", "s": "{{/usage}}!", "e": "{{/a~1b/0}}"})["body"]

    assert body == {"n": 7, "s": '{"total_tokens":7}!', "e": 1}


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"message": {"content": "hi"}}]},
        {"choices": [{"text": "hi"}, {"text": "ho"}]},
        {
            "output": [
                {"type": "reasoning"},
                {"type": "message", "content": [{"type": "output_text", "text": "h"}]},
                {"type": "message", "content": [{"type": "output_text", "text": "i"}]},
            ]
        },
    ],
)
def test_the_text_is_found_in_every_kind_of_answer(answer):
    assert made({"x": "{{text}}"}, answer)["body"] == {"x": "hi"}


@pytest.mark.parametrize(
    "placeholder", ["{{text}}", "{{/choices/0}}", "{{/data/x}}", "{{/data/9}}", "{{/data/-1}}"]
)
def test_what_an_answer_does_not_have_is_missing(placeholder):
    with pytest.raises(UnfillablePlaceholder):
        made({"x": placeholder}, {"data": [1]})


def test_an_answer_that_cannot_be_read_is_missing():
    raw = output({}).replace(b"{}", b'{"x": NaN}')

    with pytest.raises(UnfillablePlaceholder, match="cannot be read"):
        request_line(raw, CHAT, {"x": "{{/x}}"}, 1000)
    assert json.loads(empty_line(raw, CHAT))["body"] is None


def test_numbers_of_any_size_stay_what_they_are():
    assert made({"n": "{{/n}}", "seed": 10**30}, {"n": 10**25})["body"] == {
        "n": 10**25,
        "seed": 10**30,
    }


def test_in_the_place_of_a_request_that_cannot_be_made_is_one_that_is_refused():
    assert json.loads(empty_line(output({}), CHAT))["body"] is None


@pytest.mark.parametrize(
    "template",
    [
        {"x": ["{{answer}}"]},
        {"x": "{{}}"},
        {"x": "y" * 70_000},
        {"temperature": float("inf")},
        {"x": [{"y": float("nan")}]},
    ],
)
def test_templates_that_mean_nothing_are_refused(template):
    with pytest.raises(InvalidRequest):
        check_template(template)


@pytest.mark.parametrize("place", ["{{text}}", "so: {{text}}", "{{/choices}}"])
def test_a_request_does_not_grow_beyond_what_a_line_may_have(place):
    answer = {"choices": [{"message": {"content": "x" * 1000}}]}
    raw = output(answer)

    assert request_line(raw, CHAT, {"x": [place] * 3}, 4000)
    with pytest.raises(UnfillablePlaceholder, match="longer than 4000 bytes"):
        request_line(raw, CHAT, {"x": [place] * 5}, 4000)


def nested(levels):
    node = "{{text}}"
    for _ in range(levels):
        node = [node]
    return {"x": node}


def test_templates_are_nested_so_deep_and_no_deeper():
    check_template(nested(49))

    for levels in (50, 300):
        with pytest.raises(InvalidRequest, match="nested deeper than 50 levels"):
            check_template(nested(levels))


def test_an_answer_as_deep_as_can_be_read_never_crashes_a_request():
    for levels in range(300, 1000, 50):
        raw = output({}).replace(b"{}", b'{"choices":' + b"[" * levels + b"]" * levels + b"}")
        try:
            request_line(raw, CHAT, nested(49) | {"y": "{{/choices}}"}, 100_000)
        except UnfillablePlaceholder:
            continue


def test_a_place_in_a_list_that_no_number_is_as_long_as_leads_nowhere():
    with pytest.raises(UnfillablePlaceholder, match="nothing at"):
        made({"x": "{{/choices/" + "9" * 5000 + "}}"})


PLACES = st.sampled_from(
    [
        *("{{text}}", "{{custom_id}}", "{{/choices/0}}", "{{/choices/00}}", "{{/choices/-1}}"),
        *("{{//}}", "{{/a~1b/\u0661}}", "{{/a~2b}}", "so {{/usage}} it {{text}}"),
        *("{{", "{{ }}", "{{{text}}}"),
    ]
)


@given(st.dictionaries(st.text(max_size=5), anything(PLACES)), anything(PLACES))
@settings(max_examples=200, deadline=None, database=None, derandomize=True)
def test_whatever_template_is_accepted_makes_requests_or_says_why_not(template, body):
    try:
        check_template(template)
    except InvalidRequest:
        return
    for answer in (CHATTED, body):
        try:
            line = request_line(output(answer), CHAT, template, 10_000)
        except UnfillablePlaceholder:
            continue
        assert json.loads(line)["custom_id"] == "one"
