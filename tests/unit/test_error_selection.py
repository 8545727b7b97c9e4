"""Failed requests named by a few words."""

import json

import pytest

from batch_gateway.core.error_selection import ErrorSelection


def answered(status, body):
    return {"id": "x", "response": {"status_code": status, "body": body}, "error": None}


NOT_RUN = {"id": "x", "response": None, "error": {"code": "batch_expired", "message": "m"}}
LIMITED = answered(429, {"error": {"code": "rate_limit_exceeded", "type": "requests"}})
VLLM = answered(400, {"error": {"code": 400, "type": "BadRequestError"}})
ODD = [answered(500, {"error": "text"}), answered(500, {"detail": []}), answered(500, None)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (NOT_RUN, "batch_expired"),
        (LIMITED, "429 4xx rate_limit_exceeded requests"),
        (VLLM, "400 4xx BadRequestError"),
        *((line, "500 5xx") for line in ODD),
    ],
    ids=str,
)
def test_a_line_is_known_by_code_type_status_and_class(line, words):
    everything = {"batch_expired", "429", "4xx", "rate_limit_exceeded", "requests", "400"}
    everything |= {"BadRequestError", "500", "5xx", "batch_cancelled", "200", "None"}

    admitted = {word for word in everything if ErrorSelection([word]).admits(encoded(line))}

    assert admitted == set(words.split())


def test_one_word_of_several_is_enough():
    assert ErrorSelection(["5xx", "batch_expired"]).admits(encoded(NOT_RUN))
    assert not ErrorSelection([]).admits(encoded(NOT_RUN))


def encoded(line):
    return json.dumps(line).encode()
