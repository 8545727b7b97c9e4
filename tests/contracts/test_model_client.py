"""What the executor expects of any model client; run over each that there is."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from fixtures.certificates import Authority
from fixtures.redis import free_port

from batch_gateway.adapters import tls as tls_module
from batch_gateway.adapters.model_http import HttpModelClient
from batch_gateway.core.routing import TlsOptions
from batch_gateway.ports.model_client import CallFailed, CallRefused, CallTimeout, ModelClient

LONG = timedelta(seconds=20)
BODY = b'{"n": 12345678901234567890 ,\n "x":"\xc3\xbc"}'
PATH = "/v1/chat/completions"


@pytest.fixture(params=[HttpModelClient])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[ModelClient]:
    client: ModelClient = request.param()
    yield client
    await client.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_a_call_sends_what_it_is_given_and_gives_what_comes(client, start_endpoint):
    endpoint = await start_endpoint()

    async def answer(arrival):
        headers = {"x-request-id": "r-1", "retry-after": "7"}
        return web.Response(status=429, body=b" any \xff bytes", headers=headers)

    endpoint.answer = answer
    answered = await client.call(
        endpoint.url + PATH, BODY, {"content-type": "application/json", "x-a": "b"}, LONG
    )

    assert (answered.status, answered.body) == (429, b" any \xff bytes")
    assert (answered.request_id, answered.retry_after) == ("r-1", timedelta(seconds=7))
    [arrival] = endpoint.arrivals
    assert (arrival.path, arrival.body) == (PATH, BODY)
    assert (arrival.headers["content-type"], arrival.headers["x-a"]) == ("application/json", "b")


async def test_what_the_endpoint_does_not_say_is_none(client, start_endpoint):
    endpoint = await start_endpoint()

    answered = await client.call(endpoint.url + PATH, b"{}", {}, LONG)

    assert (answered.status, answered.request_id, answered.retry_after) == (200, None, None)


async def test_a_redirect_is_an_answer_and_is_not_followed(client, start_endpoint):
    endpoint = await start_endpoint()

    async def elsewhere(arrival):
        return web.Response(status=307, headers={"location": "/other"})

    endpoint.answer = elsewhere
    assert (await client.call(endpoint.url + PATH, b"{}", {}, LONG)).status == 307
    assert len(endpoint.arrivals) == 1


async def test_an_answer_that_does_not_come_in_time_is_a_timeout(client, start_endpoint):
    endpoint = await start_endpoint()

    async def never(arrival):
        await asyncio.sleep(60)

    endpoint.answer = never
    with pytest.raises(CallTimeout):
        await client.call(endpoint.url + PATH, b"{}", {}, timedelta(seconds=0.2))
    with pytest.raises(CallTimeout):
        await client.call(endpoint.url + PATH, b"{}", {}, timedelta(0))


async def test_nobody_there_is_told_apart_from_a_call_that_broke(client):
    with pytest.raises(CallRefused):
        await client.call(f"http://127.0.0.1:{free_port()}{PATH}", b"{}", {}, LONG)

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CallFailed) as raised:
            await client.call(f"http://127.0.0.1:{port}{PATH}", b"{}", {}, LONG)
    assert not isinstance(raised.value, CallRefused | CallTimeout)


async def test_cancelling_a_call_closes_its_connection(client):
    came, closed = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        came.set()
        while await reader.read(1000):
            pass
        closed.set()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        calling = asyncio.create_task(
            client.call(f"http://127.0.0.1:{port}{PATH}", b"{}", {}, LONG)
        )
        await came.wait()
        calling.cancel()
        async with asyncio.timeout(45):
            await closed.wait()


async def test_many_calls_go_on_side_by_side(client, start_endpoint):
    endpoint = await start_endpoint()

    async def together(arrival):
        while endpoint.most_open < 50:
            await asyncio.sleep(0.01)

    endpoint.answer = together
    answers = await asyncio.gather(
        *(client.call(endpoint.url + PATH, b"{}", {}, LONG) for _ in range(50))
    )

    assert [answer.status for answer in answers] == [200] * 50


async def test_an_authority_of_ones_own_is_trusted_where_it_is_named(
    client, start_endpoint, authority
):
    endpoint = await start_endpoint(tls=authority.server())

    answered = await client.call(endpoint.url + PATH, b"{}", {}, LONG, TlsOptions(ca=authority.ca))

    assert answered.status == 200
    with pytest.raises(CallRefused):
        await client.call(endpoint.url + PATH, b"{}", {}, LONG)
    unchecked = await client.call(endpoint.url + PATH, b"{}", {}, LONG, TlsOptions(verify=False))
    assert unchecked.status == 200


async def test_each_endpoint_is_shown_its_own_certificate(client, start_endpoint, authority):
    endpoint = await start_endpoint(tls=authority.server(clients=True))
    one, other = (
        TlsOptions(ca=authority.ca, certificate=c, key=k) for c, k in map(authority.issue, "ab")
    )

    for tls in (one, other, one):
        assert (await client.call(endpoint.url + PATH, b"{}", {}, LONG, tls)).status == 200

    assert [arrival.peer for arrival in endpoint.arrivals] == ["a", "b", "a"]
    with pytest.raises(CallFailed):  # without one
        await client.call(endpoint.url + PATH, b"{}", {}, LONG, TlsOptions(ca=authority.ca))


async def test_renewed_certificates_are_taken_up(
    client, start_endpoint, authority, tmp_path, monkeypatch
):
    monkeypatch.setattr(tls_module, "LOOK_S", 0.0)
    endpoint = await start_endpoint(tls=authority.server(clients=True))
    paths = tmp_path / "tls.crt", tmp_path / "tls.key"
    tls = TlsOptions(ca=authority.ca, certificate=paths[0], key=paths[1])

    for name in ("old", "new"):
        for path, issued in zip(paths, authority.issue(name), strict=True):
            path.write_bytes(issued.read_bytes())
        assert (await client.call(endpoint.url + PATH, b"{}", {}, LONG, tls)).status == 200

    assert [arrival.peer for arrival in endpoint.arrivals] == ["old", "new"]


async def test_a_certificate_that_cannot_be_read_refuses_the_call(client, start_endpoint, tmp_path):
    with pytest.raises(CallRefused, match="TLS"):
        await client.call(
            "https://127.0.0.1:1" + PATH, b"{}", {}, LONG, TlsOptions(ca=tmp_path / "nothing.pem")
        )


def test_the_tests_own_certificates_hold_what_python_demands(authority):
    context = ssl.create_default_context(cafile=authority.ca)

    assert context.cert_store_stats()["x509_ca"] == 1
