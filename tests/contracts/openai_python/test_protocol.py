"""What holds for every call of the client: errors, ids, retries, authentication; and models."""

from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from contracts.openai_python.conftest import MODELS, watched
from fixtures.api import SECRET, headers_of

from batch_gateway.core.ids import TenantId
from batch_gateway.settings import QuotaSettings

TERMS = {
    "input_file_id": "file-none",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}


@pytest.fixture
def anonymous(server, mode):
    """A client that proves nothing."""
    with watched(f"{server.url}/v1", extended=mode == "extended") as client:
        yield client


# -- ids, errors, raw answers ---------------------------------------------------------------------


def test_check_66_every_answer_has_an_id(client):
    answers = [client.files.list(), client.batches.list(), client.models.list()]

    assert all(answer._request_id.startswith("req_") for answer in answers)
    assert len({answer._request_id for answer in answers}) == 3


def test_check_66_every_error_has_an_id(client):
    with pytest.raises(openai.NotFoundError) as missing:
        client.files.retrieve("file-none")

    assert missing.value.request_id.startswith("req_")
    assert missing.value.request_id == missing.value.response.headers["x-request-id"]


def test_check_66_an_id_of_ones_own_comes_back(client):
    page = client.files.list(extra_headers={"x-request-id": "mine-1"})

    assert page._request_id == "mine-1"


def test_an_error_has_openais_class_and_parts(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.batches.list(limit=101)

    error = refused.value
    assert (error.status_code, error.type) == (400, "invalid_request_error")
    assert (error.code, error.param) == ("integer_above_max_value", "limit")
    assert str(error) == f"Error code: 400 - {error.body['message']}"


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("get", "/nothing", openai.NotFoundError),
        ("get", "/fine_tuning/jobs", openai.NotFoundError),
        ("put", "/files", openai.APIStatusError),
        ("delete", "/batches", openai.APIStatusError),
        ("get", "/uploads", openai.APIStatusError),
    ],
)
def test_what_there_is_not_is_an_error_in_openais_form(client, method, path, kind):
    with pytest.raises(kind) as refused:
        getattr(client, method)(path, cast_to=object)

    assert refused.value.status_code in (404, 405)
    assert refused.value.type == "invalid_request_error"


@pytest.mark.parametrize("body", [b"{oops", b"", b"[]", b'"text"', b"\xff\xfe", b"null"])
def test_a_body_that_is_no_object_is_refused(client, body):
    with pytest.raises(openai.BadRequestError) as refused:
        client.post(
            "/batches",
            cast_to=object,
            content=body,
            options={"headers": {"content-type": "application/json"}},
        )

    assert refused.value.type == "invalid_request_error"


def test_a_refused_request_is_not_sent_again(client):
    with pytest.raises(openai.BadRequestError):
        client.batches.list(limit=101)

    assert len(client.sent) == 1


def test_an_idempotency_key_is_honoured(client):
    first, second = (
        client.batches.create(**TERMS, extra_headers={"Idempotency-Key": "once"}) for _ in range(2)
    )

    assert first == second
    assert len(client.batches.list().data) == 1


def test_an_idempotency_key_of_another_request_is_refused(client):
    client.batches.create(**TERMS, extra_headers={"Idempotency-Key": "once"})

    with pytest.raises(openai.BadRequestError):
        client.batches.create(
            **TERMS, metadata={"another": "one"}, extra_headers={"Idempotency-Key": "once"}
        )


def test_many_clients_at_once_are_served(client):
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: client.batches.create(**TERMS).id, range(24)))

    assert {batch.id for batch in client.batches.list(limit=100)} == set(made)


# -- authentication -------------------------------------------------------------------------------


def test_check_68_without_credentials_nothing_is_answered(anonymous):
    with pytest.raises(openai.AuthenticationError) as refused:
        anonymous.files.list()

    assert (refused.value.type, refused.value.code) == ("invalid_request_error", None)
    assert len(anonymous.sent) == 1


def test_check_68_a_wrong_secret_is_an_invalid_key(server, mode):
    headers = {"x-gateway-secret": f"not {SECRET}", "x-gateway-tenant": "a"}
    options = {"extended": mode == "extended", "default_headers": headers}
    with (
        watched(f"{server.url}/v1", **options) as client,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        client.batches.list()

    assert refused.value.code == "invalid_api_key"


# -- rates ----------------------------------------------------------------------------------------


def test_check_67_who_asks_too_often_is_told_when_to_come_again(serve, mode, tenant):
    options = {"extended": mode == "extended", "default_headers": headers_of(tenant)}
    with (
        serve(QuotaSettings(batches_per_hour=1)) as server,
        watched(f"{server.url}/v1", **options, max_retries=0) as client,
    ):
        first = client.batches.with_raw_response.create(**TERMS)
        with pytest.raises(openai.RateLimitError) as refused:
            client.batches.create(**TERMS)

    assert first.headers["x-ratelimit-limit-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-requests"] == "0"
    assert refused.value.code == "rate_limit_exceeded"
    assert 1 <= int(refused.value.response.headers["retry-after"]) <= 120


# -- models ---------------------------------------------------------------------------------------


def test_models_are_listed(client):
    models = client.models.list()

    assert [model.id for model in models] == list(MODELS)
    assert {model.object for model in models} == {"model"}


@pytest.mark.parametrize("name", MODELS)
def test_check_71_a_model_is_found_by_its_name(client, name):
    assert client.models.retrieve(name).id == name


def test_check_71_a_slash_need_not_be_encoded(client):
    model = client.get("/models/org/sim-small", cast_to=openai.types.Model)

    assert model.id == "org/sim-small"


@pytest.mark.parametrize("name", ["none", "org", "org/none", "a b"])
def test_an_unknown_model_is_404(client, name):
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve(name)

    assert missing.value.code == "model_not_found"


def test_everybody_sees_the_same_models(client, server, mode):
    headers = headers_of(TenantId("somebody-else"))
    with watched(f"{server.url}/v1", extended=mode == "extended", default_headers=headers) as other:
        assert other.models.list().data == client.models.list().data
