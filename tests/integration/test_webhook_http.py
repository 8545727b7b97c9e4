"""Requests to untrusted receivers."""

import asyncio
from datetime import timedelta

import pytest

from batch_gateway.adapters.webhook_http import HttpWebhooks
from batch_gateway.core.errors import InvalidRequest

BODY = b'{"a": 1}'
HEADERS = {"content-type": "application/json", "webhook-id": "evt_1"}


class Names:
    """A name server that may change its mind."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, host, port):
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer:
            raise OSError("no such name")
        return answer


@pytest.fixture
async def open_client():
    clients = []

    def open_one(*, private=False, http=True, timeout=2.0, **options) -> HttpWebhooks:
        client = HttpWebhooks(
            timeout=timedelta(seconds=timeout), allow_http=http, allow_private=private, **options
        )
        clients.append(client)
        return client

    yield open_one
    for client in clients:
        await client.close()


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_a_2xx_acknowledges(open_client, start_receiver, status):
    receiver = await start_receiver(statuses=[status])

    answer = await open_client(private=True).post(receiver.url, HEADERS, BODY)

    assert (answer.status, answer.error) == (status, None)
    [(headers, body)] = receiver.heard
    assert (headers["webhook-id"], body) == ("evt_1", BODY)


@pytest.mark.parametrize("status", [301, 307, 400, 404, 500])
async def test_everything_else_is_a_failure_and_redirects_are_not_followed(
    open_client, start_receiver, status
):
    elsewhere = await start_receiver()
    receiver = await start_receiver(statuses=[status], headers={"location": elsewhere.url})

    answer = await open_client(private=True).post(receiver.url, HEADERS, BODY)

    assert (answer.status, answer.error) == (status, f"HTTP {status} heard")
    assert elsewhere.heard == []


async def test_a_receiver_that_does_not_answer_is_given_up(open_client, start_receiver):
    receiver = await start_receiver(statuses=[None])

    answer = await open_client(private=True, timeout=0.2).post(receiver.url, HEADERS, BODY)

    assert answer.status is None
    assert answer.error


@pytest.mark.parametrize("status", [200, 500])
async def test_only_the_beginning_of_an_answer_is_read(open_client, status):
    """It has no end, and it says that it is compressed."""
    sent = 0

    async def serve(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d Odd\r\ncontent-encoding: gzip\r\n\r\n" % status)
        try:
            while True:
                writer.write(b"\x00no" * 10_000)
                await writer.drain()
                sent += 30_000
        except ConnectionError:
            writer.close()  # the client has gone

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        answer = await open_client(private=True, timeout=60).post(url, HEADERS, BODY)

    assert answer.status == status
    assert sent < 20_000_000  # what buffers take
    if status == 500:
        assert len(answer.error) < 250
        assert "\x00" not in answer.error


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "2130706433", "0x7f.1"])
async def test_private_addresses_are_not_reached_however_they_are_spelled(
    open_client, receiver, host
):
    url = f"http://{host}:{receiver.port}/hook"

    answer = await open_client().post(url, HEADERS, BODY)

    assert answer.status is None
    assert receiver.heard == []
    with pytest.raises(InvalidRequest, match="private network"):
        await open_client().check(url)


async def test_a_name_is_connected_to_where_it_was_judged(open_client, receiver):
    """Not to where it points a moment later."""
    names = Names(["127.0.0.1"], ["8.8.8.8"])
    client = open_client(private=True, resolve=names)

    answer = await client.post(f"http://hook.example:{receiver.port}/hook", HEADERS, BODY)

    assert answer.ok
    assert names.asked == ["hook.example"]
    assert receiver.heard[0][0]["Host"] == f"hook.example:{receiver.port}"


async def test_a_name_that_turns_private_after_its_check_is_not_reached(open_client, receiver):
    names = Names(["8.8.8.8"], ["127.0.0.1"])
    client = open_client(resolve=names)
    url = f"http://hook.example:{receiver.port}/hook"
    await client.check(url)

    answer = await client.post(url, HEADERS, BODY)

    assert (answer.status, receiver.heard) == (None, [])
    assert "private network" in answer.error
    with pytest.raises(InvalidRequest, match="private network"):
        await client.check(url)


async def test_of_several_addresses_only_public_ones_are_connected_to(open_client, receiver):
    client = open_client(resolve=Names(["127.0.0.1", "240.0.0.1", "203.0.113.1"]), timeout=0.3)

    answer = await client.post(f"http://hook.example:{receiver.port}/hook", HEADERS, BODY)

    assert (answer.status, receiver.heard) == (None, [])


async def test_a_name_that_does_not_resolve_yet_may_be_registered(open_client):
    client = open_client(resolve=Names([]))

    await client.check("http://later.example/hook")

    answer = await client.post("http://later.example/hook", HEADERS, BODY)
    assert answer.status is None


async def test_plain_http_must_be_allowed(open_client, receiver):
    client = open_client(http=False, private=True)

    with pytest.raises(InvalidRequest, match="https"):
        await client.check(receiver.url)
    answer = await client.post(receiver.url, HEADERS, BODY)  # of before that was so
    assert answer.status is None
    assert "https" in answer.error
    assert receiver.heard == []


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("", {}),
        ("http://[", {}),
        ("http://a..b/", {}),
        ("http://hook.example:99999/", {}),
        ("http://hook.example/", {"x": "a\r\nb"}),
        ("http://hook.example/", {"x": None}),
    ],
    ids=["empty", "no URL", "empty label", "no port", "line end", "no text"],
)
async def test_what_cannot_be_sent_is_a_failed_attempt(open_client, url, headers):
    """Not an exception: that would end the deliveries of all tenants in the same run."""
    answer = await open_client(private=True).post(url, headers, BODY)

    assert answer.status is None
    assert answer.error
