"""Members of a JSON object are replaced in place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_gateway.core.json_splice import splice_members


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"a","n":1}', b'{"model":"b","n":1}'),
        (
            b'{ "n" : 12345678901234567890.10 , "model" : "a" }',
            b'{ "n" : 12345678901234567890.10 , "model" : "b" }',
        ),
        (b'{"x":{"model":"a"},"model":"a"}', b'{"x":{"model":"a"},"model":"b"}'),
        (
            b'{"x":[{"model":"a"},"model",":,}"],"model":"a"}',
            b'{"x":[{"model":"a"},"model",":,}"],"model":"b"}',
        ),
        (b'{"model":"a","model":"c"}', b'{"model":"b","model":"b"}'),
        (rb'{"mod\u0065l":"a\"}"}', rb'{"mod\u0065l":"b"}'),
        (b'{"text":"\\\\","model":"a"}', b'{"text":"\\\\","model":"b"}'),
        (b'{"model":\n{"deep":[1,2]}\n}\n', b'{"model":\n"b"\n}\n'),
        ('{"é":"ü","model":"a"}'.encode(), '{"é":"ü","model":"b"}'.encode()),
        (b'{"n":1}', b'{"n":1,"model":"b"}'),
        (b"{ }", b'{ "model":"b"}'),
    ],
)
def test_only_the_value_changes(body, expected):
    assert splice_members(body, {"model": b'"b"'}) == expected


def test_several_members_are_set_at_once():
    body = b'{"priority":-5,"model":"a"}'

    assert splice_members(body, {"model": b'"b"', "priority": b"100", "z": b"1"}) == (
        b'{"priority":100,"model":"b","z":1}'
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from(["model", "a", '"', "\\", "é", "{"]), values)


@given(
    body=objects,
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_any_object_means_the_same_but_for_that_member(body, indent, ascii_only):
    encoded = json.dumps(body, indent=indent, ensure_ascii=ascii_only).encode()

    changed = splice_members(encoded, {"model": b'"b"'})

    assert json.loads(changed) == body | {"model": "b"}
