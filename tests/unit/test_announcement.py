"""What ``up`` prints about the model endpoint."""

from batch_gateway.cli.announcement import _named, _trouble
from batch_gateway.cli.probing import ProbeResult

URL = "http://127.0.0.1:8000/v1/models"


def test_the_models_that_answer_are_named_and_many_are_counted():
    few = ProbeResult(URL, 200, ["a", "b"])
    many = ProbeResult(URL, 200, [f"model-{number}" for number in range(9)])

    assert _named(few) == "a, b (http://127.0.0.1:8000)"
    assert _named(many).endswith("model-5 and 3 more (http://127.0.0.1:8000)")
    assert _named(ProbeResult(URL, 200)) == "none (http://127.0.0.1:8000)"


def test_an_endpoint_that_refuses_the_key_is_told_with_the_setting():
    for status in (401, 403):
        told = f"http://127.0.0.1:8000 answers {status}: set BATCH_GATEWAY_INFERENCE__API_KEY"
        assert _trouble(ProbeResult(URL, status)) == told


def test_another_answer_is_told_with_the_request():
    told = "http://127.0.0.1:8000 answers 404 to GET /v1/models"

    assert _trouble(ProbeResult(URL, 404)) == told
