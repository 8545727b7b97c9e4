"""One request after the other on a real connection to a replica."""

import asyncio
from types import SimpleNamespace
from typing import Any

from batch_gateway.local.http1 import BodyFraming
from batch_gateway.local.proxied_request import ProxiedRequest
from batch_gateway.local.upstream import UpstreamConnection

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell"


class Client:
    """A client connection that takes no more once it was given ``takes`` bytes."""

    def __init__(self, takes: int) -> None:
        self.takes, self.given, self.full = takes, b"", False
        self.request: ProxiedRequest | None = None
        self.ended = asyncio.Event()

    def write(self, data: bytes) -> None:
        self.given += data
        if len(self.given) > self.takes and not self.full:
            self.full = True
            assert self.request is not None
            self.request.client_full()  # as its transport says from within the write

    def exchange_ended(self, *, close: bool) -> None:
        self.ended.set()

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def abort(self) -> None: ...


async def test_a_connection_whose_answer_ended_while_the_client_was_full_serves_the_next_request():
    async def replica(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER)  # its head and its end come at once
        writer.close()

    server = await asyncio.start_server(replica, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _, upstream = await asyncio.get_running_loop().create_connection(
        UpstreamConnection, "127.0.0.1", port
    )
    idle = [upstream]

    async def connect() -> UpstreamConnection:
        return idle.pop()

    async def enter() -> Any:
        return place

    place = SimpleNamespace(
        replica=SimpleNamespace(connect=connect, give_back=idle.append), leave=lambda: None
    )
    revision: Any = SimpleNamespace(
        service=SimpleNamespace(timeout_s=60, response_start_timeout_s=60, public=True),
        enter=enter,
        start_next=lambda _method, _path: None,
    )
    async with asyncio.timeout(45), asyncio.TaskGroup() as tasks:
        for takes in (20, 1000):
            client = Client(takes)
            client.request = ProxiedRequest(
                client,
                revision,
                method=b"GET",
                target=b"/",
                headers=[(b"host", b"x")],
                framing=BodyFraming.NONE,
                keep_alive=True,
                http10=False,
            )
            client.request.begin(tasks)
            client.request.request_ends()
            await client.ended.wait()
            assert client.given.endswith(b"\r\n\r\nwell")
            assert idle == [upstream]
    upstream.close()
    server.close()
    await server.wait_closed()
