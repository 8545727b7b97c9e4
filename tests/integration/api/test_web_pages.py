"""Web pages that a user visits may not use a service without an authenticator on the machine."""

import httpx
import pytest

from batch_gateway.settings import ApiSettings, AuthSettings

FORM = {"content-type": "multipart/form-data; boundary=b"}
FILE = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{}\r\n--b--\r\n'
)


@pytest.fixture
async def local(serve_api):
    """A server without authenticator, and a client that sends what it is told."""
    with serve_api(
        ApiSettings(), auth=AuthSettings(kind="none", hosts=("Tunnel.example",))
    ) as server:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
            yield http


def code(answer: httpx.Response) -> str:
    assert answer.status_code == 403
    assert answer.json()["error"]["type"] == "invalid_request_error"
    return answer.json()["error"]["code"]


@pytest.mark.parametrize(
    "host",
    ["localhost:8080", "LOCALHOST", "127.0.0.1", "[::1]:8080", "a.localhost", "tunnel.example:1"],
)
async def test_a_client_of_this_machine_is_served(local, host):
    assert (await local.get("/v1/files", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil", "@[", ""],
)
async def test_a_page_under_a_name_that_was_rebound_is_refused(local, host):
    answer = await local.get("/v1/files", headers={"host": host, "origin": f"http://{host}"})

    assert code(answer) == "host_not_allowed"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
async def test_a_form_of_another_page_is_refused_and_leaves_nothing(local, headers):
    answer = await local.post("/v1/files", content=FILE, headers=FORM | headers)

    assert code(answer) == "origin_not_allowed"
    assert (await local.get("/v1/files")).json()["data"] == []


async def test_a_page_of_the_service_itself_is_served(local):
    own = {"origin": str(local.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}

    assert (await local.post("/v1/files", content=FILE, headers=FORM | own)).status_code == 200


async def test_no_answer_lets_other_origins_read_it(local):
    asked = {"origin": "http://evil.example", "access-control-request-method": "POST"}

    answer = await local.options("/v1/files", headers=asked)

    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_with_an_authenticator_any_name_will_do(http):
    headers = {"host": "gateway.example", "origin": "https://app.example"}

    assert (await http.get("/v1/files", headers=headers)).status_code == 200
